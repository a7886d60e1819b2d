"""Tables of samplers: hypervolumes, second searches and estimates of fronts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.baselines import OURS
from benchmarks.device_search import POOL
from benchmarks.docs_tables.markdown import BENCHMARKS, read, table

MARKS = (50, 100, 200)  # evaluations
NAMES = {"botorch": "qLogNEHVI (BoTorch)", "gp": "GPSampler", "tpe": "TPE", "nsga2": "NSGA-II"}
SAMPLER_FILES = ("sampler.json", "sampler-nats.json")
REAL = ("nas-bench-macro", "nats-cifar10", "nats-cifar100")


def sampler() -> str:
    """Normalised hypervolume by sampler, for each published table: medians over the runs."""
    return _hypervolumes(lambda problem: problem in REAL)


def sampler_synthetic() -> str:
    """The same of synthetic accuracies."""
    return _hypervolumes(lambda problem: problem not in REAL)


def _hypervolumes(shown: Callable[[str], bool]) -> str:
    rows = [
        row
        for name in SAMPLER_FILES
        for row in read(BENCHMARKS / name)["rows"]
        if row["sampler"] != "random" and shown(row["table"])
    ]
    parts = []
    for problem in dict.fromkeys(row["table"] for row in rows):
        lines = []
        for name in dict.fromkeys(row["sampler"] for row in rows if row["table"] == problem):
            at = {
                r["evaluations"]: r for r in rows if (r["table"], r["sampler"]) == (problem, name)
            }
            last = at[MARKS[-1]]
            lines.append([
                NAMES.get(name, name), str(last["seeds"]),
                *(f"{at[mark]['median']:.3f}" for mark in MARKS),
                f"{last['q25']:.3f} to {last['q75']:.3f}", f"{last['ms_per_ask']:.0f}",
            ])  # fmt: skip
        header = [
            "sampler",
            "runs",
            *(f"after {mark}" for mark in MARKS),
            "its quartiles",
            "ms per ask",
        ]
        parts.append(f"**{problem}**\n\n{table(header, lines)}")
    return "\n".join(parts)


def sampler_peers() -> str:
    """`known-cost` against the best sampler of Optuna and against BoTorch's, by table."""

    def cell(row: dict[str, Any], name: str, form: str) -> str:
        return f"{row[name]:{form}}" if row.get(name) is not None else "–"

    return table(
        ["table", "hypervolume left, of Optuna's best", "after 100, less Optuna's best after 200",
         "hypervolume left, of qLogNEHVI's", "time per ask, of qLogNEHVI's"],
        (
            [row["table"], cell(row, "against_optuna", ".2f"), cell(row, "half_way", "+.3f"),
             cell(row, "against_botorch", ".2f"), cell(row, "time_against_botorch", ".2f")]
            for row in sorted(
                (row for name in SAMPLER_FILES for row in read(BENCHMARKS / name)["bars"]),
                key=lambda row: row["table"] not in REAL,
            )
        ),
    )  # fmt: skip


def transfer() -> str:
    """Second searches by pair of tables, beside a cold start and the source's front first."""

    def difference(scores: dict[str, Any]) -> str:
        plain = scores["plain"]
        known = plain and plain["error"] > 0  # not the trick itself
        return f" ({plain['mean']:+.3f} ± {plain['error']:.3f})" if known else ""

    parts = []
    for pair in read(BENCHMARKS / "transfer.json")["summary"]:
        lines = []
        for row in pair["ways"]:
            marks, last = row["marks"], row["marks"]["100"]
            reached = row["reaches_cold"]
            lines.append([
                row["way"], str(row["seeds"]),
                *(f"{marks[m]['median']:.3f}{difference(marks[m])}" for m in ("25", "50", "100")),
                "–" if reached is None else f"{reached:.0f}",
                f"{marks['50']['cold']['worst']:.2f}, {last['cold']['worst']:.2f}",
                f"{row['ms_per_ask']:.0f}",
            ])  # fmt: skip
        header = ["search of the target", "seeds", *(f"after {mark}" for mark in (25, 50, 100)),
                  "reaches the cold start's 100", "worst seed after 50 and 100, of a cold start's",
                  "ms per ask"]  # fmt: skip
        parts.append(f"**{pair['source']} to {pair['target']}**\n\n{table(header, lines)}")
    return "\n".join(parts)


def device_search() -> str:
    """Searches within limits of memory and flash: hypervolumes, and how many were over a limit."""
    file = read(BENCHMARKS / "device-search.json")
    names = NAMES | {POOL: f"{file['setting']['pool']:,} networks at random"}
    return table(
        ["search", "runs", "hypervolume (least to most)", "`known-cost` leaves, of it",
         "networks over a limit"],
        (
            [
                names.get(row["sampler"], f"`{row['sampler']}`"), str(row["seeds"]),
                "{:.3f} ({:.3f} to {:.3f})".format(row["hypervolume"], *row["range"]),
                "–" if row["sampler"] == OURS else f"{row['left']:.3f}", f"{row['over']:,.0f}",
            ]
            for row in file["summary"]
        ),
    )  # fmt: skip


def estimates() -> str:
    """Estimates of the members of a front against the truth, by table, noise and evaluations."""
    rows = [
        [
            row["table"], row["noise"], str(row["evaluations"]), str(row["searches"]),
            f"{row['error_ratio']:.2f}",
            f"{100 * row['measurement_bias']:+.2f}", f"{100 * row['estimate_bias']:+.2f}",
            f"{100 * row['held']:.0f} %",
            f"{row['high_true']} of {row['high']}", f"{row['low_true']} of {row['low']}",
        ]
        for row in read(BENCHMARKS / "estimates.json")["summary"]
    ]  # fmt: skip
    return table(
        ["table", "noise", "after", "searches", "error of the estimate, of the measurement's",
         "bias of measurements, points", "of estimates", "intervals that hold the truth",
         "on the front, of members with 0.8 to 1", "with 0 to 0.2"],
        rows,
    )  # fmt: skip
