"""How good the estimates of a front are, on searches of tables with noise.

A search of a table is told noisy accuracies; the truth is the table's mean over training seeds.
After some numbers of evaluations the members of the front are estimated as a study's are, and
compared with the truth: the errors of estimates and of measurements, whether intervals hold the
truth, and how many of the members with a given probability are on the true front of what was tried.

Noise is that of one training seed where a table has several, and with `images` that of a validation
split of so many images on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as TextTable

from benchmarks.problems import TableProblem
from benchmarks.replay import silence_optuna
from benchmarks.rows import RowFile
from benchmarks.tables import Table, read_table
from nas.pareto import non_dominated
from nas.progress import shown
from nas.samplers import KnownCostSampler
from nas.samplers.history import EndedTrial
from nas.samplers.parameters import suggest
from nas.study.estimate import make_estimates, posterior_errors
from nas.study.front import LIKELY

Array = NDArray[np.float64]

MARKS = (50, 100, 200)  # evaluations after which the front is estimated
HIGH, LOW = 0.8, 0.2  # probabilities from which, and up to which, members are counted
COUNTS = (
    "members", "true_members", "held", "high", "high_true", "low", "low_true", "true_front",
    "measured_true", "likely", "likely_true",
)  # fmt: skip
SUMS = ("estimate_error", "measurement_error", "estimate_bias", "measurement_bias", "probability")


def run_and_report(
    paths: Sequence[str], seeds: Sequence[int], images: int, json_path: Path | None
) -> None:
    """Search each table with each seed, print a table, and write the rows.

    Args:
        paths: of tables, in the format of `benchmarks.tables`.
        seeds: of the searches.
        images: of the validation split. Tables of several training seeds are searched without
            its noise too.
        json_path: gets the rows as they come; an unfinished file is continued.
    """
    rows = RowFile(json_path, {"images": images, "marks": MARKS}, ("table", "noise", "seed"))
    tables = [read_table(Path(path)) for path in paths]
    work = [
        (table, noise, split, seed)
        for seed in seeds
        for table in tables
        for noise, split in _noises(table, images).items()
    ]
    left = [one for one in work if (one[0].name, one[1], one[3]) not in rows]

    def searches() -> Iterator[None]:
        for table, noise, split, seed in left:
            marks = search(table, seed, split)
            rows.add({"table": table.name, "noise": noise, "seed": seed, "marks": marks})
            yield

    for _ in shown("searches")(searches(), len(work), len(work) - len(left)):
        pass
    summary = summarise(rows)
    rows.write({"summary": summary})
    console = Console()
    text = TextTable(title="Estimates of the members of a front")
    head = ("table", "noise", "after", "error ratio", "held", "of the likely", "of the unlikely")
    for name in head:
        text.add_column(name)
    for one in summary:
        text.add_row(
            one["table"],
            one["noise"],
            str(one["evaluations"]),
            f"{one['error_ratio']:.2f}",
            f"{one['held']:.2f}",
            f"{one['high_true']} of {one['high']}",
            f"{one['low_true']} of {one['low']}",
        )
    console.print(text)


def _noises(table: Table, images: int) -> dict[str, int | None]:
    """The kinds of noise that a table is searched with, and the images of the validation split."""
    noises: dict[str, int | None] = {"training seed": None} if table.accuracy.shape[1] > 1 else {}
    return noises | {f"{images} images": images}


def search(table: Table, seed: int, images: int | None) -> list[dict[str, float]]:
    """Search a table with the known-cost sampler; see `judge` for what is returned.

    Args:
        table: is searched; accuracies are those of one training seed at random.
        seed: of the sampler and of the noise.
        images: of a validation split that accuracies are measured on; None: no such noise.
    """
    silence_optuna()
    problem, rng = TableProblem(table), np.random.default_rng([seed, 1])
    sampler = KnownCostSampler(
        problem.choices,
        lambda setting: (problem.macs(setting),),
        seed=seed,
        identity=problem.key,
        images=images,
    )
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    tried: dict[int, float] = {}  # row of the table -> measured accuracy
    marks = []
    for count in range(1, MARKS[-1] + 1):
        trial = study.ask()
        setting = suggest(trial, problem.choices)
        row = table.row(setting)
        accuracy = 1.0 - problem.observe(setting, rng)
        if images is not None:
            accuracy = rng.binomial(images, accuracy) / images
        tried[row] = accuracy
        study.tell(trial, [accuracy, problem.macs(setting)])
        if count in MARKS:
            rows = np.array(list(tried))
            marks.append({"evaluations": count} | judge(table, rows, [*tried.values()], images))
    return marks


def judge(
    table: Table, rows: NDArray[np.int64], accuracies: Sequence[float], images: int | None
) -> dict[str, float]:
    """Compare the estimates of the members of a front with the truth.

    Args:
        table: its mean accuracies are the truth.
        rows: [N], of the table, that were tried.
        accuracies: [N], measured.
        images: that they were measured on.

    Returns:
        `COUNTS` and `SUMS` over the members.
    """
    measured, true, macs = np.array(accuracies), 1.0 - table.error[rows], table.macs[rows]
    codes = [tuple(code) for code in table.codes[rows].tolist()]
    ended = [EndedTrial(code, {}, 1.0 - one) for code, one in zip(codes, accuracies, strict=True)]
    costs = macs[:, None]
    errors = posterior_errors(table.choices, ended, costs, images)
    estimates = make_estimates(measured, costs, errors, images)
    probability = np.array([one.on_front for one in estimates], dtype=np.float64)
    estimated = np.array([one.accuracy for one in estimates])
    ends = np.array([one.interval for one in estimates], dtype=np.float64)
    held = (ends[:, 0] <= true) & (true <= ends[:, 1])
    truly = non_dominated(np.column_stack([macs, -true]))
    as_measured = non_dominated(np.column_stack([macs, -measured]))
    likely = (probability >= LIKELY) & ~as_measured
    members = as_measured | likely
    high, low = members & (probability >= HIGH), members & (probability <= LOW)
    counts = {
        "members": members, "true_members": members & truly, "held": members & held,
        "high": high, "high_true": high & truly, "low": low, "low_true": low & truly,
        "true_front": truly, "measured_true": as_measured & truly,
        "likely": likely, "likely_true": likely & truly,
    }  # fmt: skip
    sums = {
        "estimate_error": np.abs(estimated - true), "measurement_error": np.abs(measured - true),
        "estimate_bias": estimated - true, "measurement_bias": measured - true,
        "probability": probability,
    }  # fmt: skip
    return {name: int(mask.sum()) for name, mask in counts.items()} | {
        name: round(float(values[members].sum()), 6) for name, values in sums.items()
    }


def summarise(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counts and means over seeds, by table, noise and number of evaluations."""
    groups: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for row in rows:
        for mark in row["marks"]:
            groups.setdefault((row["table"], row["noise"], mark["evaluations"]), []).append(mark)
    summary = []
    for (table, noise, evaluations), marks in sorted(groups.items()):
        total = {name: sum(mark[name] for mark in marks) for name in (*COUNTS, *SUMS)}
        ratios = sorted(mark["estimate_error"] / mark["measurement_error"] for mark in marks)
        summary.append(
            {"table": table, "noise": noise, "evaluations": evaluations, "searches": len(marks)}
            | {name: total[name] for name in COUNTS}
            | {
                "held": total["held"] / total["members"],
                "error_ratio": total["estimate_error"] / total["measurement_error"],
                "error_ratio_range": [ratios[0], ratios[-1]],
                "estimate_bias": total["estimate_bias"] / total["members"],
                "measurement_bias": total["measurement_bias"] / total["members"],
                "expected_members": total["probability"],
            }
        )
    return summary
