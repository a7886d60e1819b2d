"""The tables of the documentation, made from the figures in results/.

`python -m benchmarks.docs_tables` writes docs/tables/*.md, which the pages include.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from scipy import stats

from benchmarks.end_to_end import NAMES as BASELINE_NAMES
from benchmarks.recorded_coverage import coverage, own_noise, recorded_searches
from benchmarks.retraining_report import idea_rows, rate_rows, small_rows
from nas.format import format_count
from nas.report.comparison_plots import comparison_rows
from nas.stopping.rule import StoppingSettings

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "docs" / "tables"
BENCHMARKS = ROOT / "results" / "benchmarks"
REFERENCE = ROOT / "results" / "reference-fashion-mnist"
MARKS = (50, 100, 200)  # evaluations
NAMES = {"botorch": "qLogNEHVI (BoTorch)", "gp": "GPSampler", "tpe": "TPE", "nsga2": "NSGA-II"}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are aligned to the right."""
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _spread(values: Sequence[float], digits: int) -> str:
    """Median (least to most)."""
    middle, low, high = (f"{f(values):.{digits}f}" for f in (median, min, max))
    return f"{middle} ({low} to {high})"


def _interval(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    bounds = row[f"{name}_interval"]
    text = f"{row[name]:.2f}"
    return f"{text} ({bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else text


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
        for row in _read(BENCHMARKS / name)["rows"]
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
            for name in SAMPLER_FILES
            for row in _read(BENCHMARKS / name)["bars"]
        ),
    )  # fmt: skip


def transfer() -> str:
    """Second searches by pair of tables, beside a cold start and the source's front first."""

    def difference(scores: dict[str, Any]) -> str:
        plain = scores["plain"]
        known = plain and plain["error"] > 0  # not the trick itself
        return f" ({plain['mean']:+.3f} ± {plain['error']:.3f})" if known else ""

    parts = []
    for pair in _read(BENCHMARKS / "transfer.json")["summary"]:
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
        for row in _read(BENCHMARKS / "estimates.json")["summary"]
    ]  # fmt: skip
    return table(
        ["table", "noise", "after", "searches", "error of the estimate, of the measurement's",
         "bias of measurements, points", "of estimates", "intervals that hold the truth",
         "on the front, of members with 0.8 to 1", "with 0 to 0.2"],
        rows,
    )  # fmt: skip


def end_to_end() -> str:
    """Seconds until a baseline's final hypervolume is reached, by it and by this search."""
    rows = _read(BENCHMARKS / "end-to-end.json")["summary"]
    lines = []
    for version, name in BASELINE_NAMES.items():
        for row in rows:
            ours = row[f"ours_reached_{name}"]
            lines.append([
                version, str(row["seed"]), f"{row[f'{name}_volume']:.3f}",
                f"{row[f'{name}_reached']:.0f}", "never" if ours is None else f"{ours:.0f}",
                "–" if ours is None else f"{row[f'{name}_ratio']:.1f}",
            ])  # fmt: skip
        middle = median(row[f"{name}_ratio"] for row in rows)
        lines.append([version, "**median**", "", "", "", f"**{middle:.1f}**"])
    return table(
        ["baseline", "seed", "its final hypervolume", "reached by it, s", "by this search, s",
         "ratio"],
        lines,
    )  # fmt: skip


def early_stopping() -> str:
    """What stopping keeps and saves in whole searches."""
    rows = _read(BENCHMARKS / "end-to-end.json")["summary"]
    return table(
        ["of the same search without stopping", "median (least to most)"],
        [
            ["hypervolume", _spread([row["kept"] for row in rows], 3)],
            ["training seconds", _spread([row["trained"] for row in rows], 2)],
        ],
    )


def stopping() -> str:
    """Replays of a published table of learning curves, at the confidence of a search."""
    rows = _read(BENCHMARKS / "stopping.json")["rows"]
    strength = StoppingSettings.confidence
    chosen = [row for row in rows if (row["rule"], row["strength"]) == ("front", strength)]
    if not chosen:
        raise ValueError(f"stopping.json: no rows at confidence {strength}; measure it first")
    return table(
        ["trials at a time", "hypervolume kept [quartiles]", "epochs spent",
         "successive halving at equal epochs", "non-dominated sorting at equal epochs",
         "all judged after one epoch, at equal epochs"],
        (
            [str(row["in_flight"]),
             f"{row['hypervolume']:.3f} [{row['q25']:.3f}, {row['q75']:.3f}]",
             f"{row['epochs']:.2f}",
             *(f"{row[name]:.3f}" for name in ("halving", "sorting", "one_epoch"))]
            for row in chosen
        ),
    )  # fmt: skip


def stopping_coverage() -> str:
    """How often final accuracies of recorded searches lie above the bound of the rule."""
    lines = []
    for search in recorded_searches():
        curves = [trial.curve for trial in search.trials]
        found = coverage(curves, search.epochs, search.images)
        noise = own_noise(search)[search.epochs][0] if search.trials[0].right else None
        lines.append([
            f"{search.name}, {search.images:,} images", str(len(curves)),
            *(f"{100 * each.share:.1f} %" for each in found),
            "–" if noise is None else f"{noise:.2f}",
        ])  # fmt: skip
    return table(
        ["finished trials of", "trials", "above the bound of epoch 1", "epoch 2", "epoch 4, of 8",
         "noise not common to all, share of the binomial"],
        lines,
    )  # fmt: skip


def stopping_recorded() -> str:
    """Replays of the rule on recorded searches, with training losses and without."""
    rows = [
        row for row in _read(BENCHMARKS / "stopping-recorded.json")["rows"]
        if row["confidence"] == StoppingSettings.confidence
    ]  # fmt: skip
    return table(
        ["trials of", "forecast from", "hypervolume kept ± standard error", "epochs spent"],
        (
            [row["search"], "accuracy and loss" if row["losses"] else "accuracy",
             f"{row['hypervolume']:.3f} ± {row['error']:.3f}", f"{row['epochs']:.2f}"]
            for row in rows
        ),
    )  # fmt: skip


def training_loss() -> str:
    """How well early accuracies and early losses rank the final accuracies at equal cost."""
    found = _read(BENCHMARKS / "stopping-recorded.json")["correlations"]
    return table(
        ["partial rank correlation with the final accuracy", "epoch 1", "epoch 2", "epoch 4, of 8"],
        (
            [f"{name}: {what}", *(f"{value:.2f}" for value in values)]
            for name, by_what in found.items()
            for what, values in by_what.items()
        ),
    )


def schedule() -> str:
    """How well short schedules rank architectures as a long one does."""
    return table(
        ["data", "short schedule", "architectures", "partial rank correlation",
         "two seeds of the long one", "times cheaper"],
        (
            [row["dataset"], row["schedule"], str(row["architectures"]),
             _interval(row, "partial"), _interval(row, "seeds_partial"),
             f"{row['cost_ratio']:.1f}"]
            for row in _read(BENCHMARKS / "schedule.json")["summary"]
        ),
    )  # fmt: skip


def operator() -> str:
    """The compiled kernels against the fastest and the leanest plain version."""
    file = _read(BENCHMARKS / "operator.json")
    lines = []
    for what, name in (("operator", "DCT with batch norm"), ("block", "whole block")):
        rows = [row for row in file["rows"] if row["what"] == what]
        ratios = [row["speedup"] for row in rows]
        lines.append([
            name, str(len(rows)), f"{geometric_mean(ratios):.1f}",
            f"{min(ratios):.1f} to {max(ratios):.1f}", f"{max(r['memory'] for r in rows):.2f}",
        ])  # fmt: skip
    return table(["", "shapes", "times faster, geometric mean", "range", "memory, at most"], lines)


def _training_rows(name: str) -> list[list[dict[str, Any]]]:
    """The runs of each comparison."""
    cases: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in _read(BENCHMARKS / f"{name}.json")["rows"]:
        cases.setdefault((run["images"], run["arch"], run["threads"]), []).append(run)
    return list(cases.values())


def training() -> str:
    """The trainer against the baseline training loop, on a CPU and on a GPU."""
    lines = []
    for name, where in (("training", "two CPU cores"), ("training-gpu", "one H100")):
        faster, graph = [], []
        cases = _training_rows(name)
        for runs in cases:
            versions = runs[0]["seconds"]
            seconds = {v: median(run["seconds"][v] for run in runs) for v in versions}
            others = [v for v in versions if v.startswith("baseline")]
            best = min(others, key=seconds.__getitem__)
            faster.append(seconds[best] / seconds["ours"])
            if "ours, kernel by kernel" in seconds:
                graph.append(seconds["ours, kernel by kernel"] / seconds["ours"])
        lines.append([
            where, str(len(cases)), str(sum(map(len, cases))),
            f"{geometric_mean(faster):.1f} ({min(faster):.1f} to {max(faster):.1f})",
            f"{geometric_mean(graph):.1f}" if graph else "–",
        ])  # fmt: skip
    return table(
        ["device", "comparisons", "runs", "times faster, geometric mean (range)",
         "of which the CUDA graph"],
        lines,
    )  # fmt: skip


def training_accuracy() -> str:
    """Accuracies of the trainer and of the baseline training, after whole schedules."""
    of = _read(BENCHMARKS / "training-accuracy.json")["summary"]
    return table(
        ["pairs of trainings", "trainer", "baseline", "difference, points (95 % interval)"],
        [[
            str(of["pairs"]), f"{100 * of['ours']:.1f} %", f"{100 * of['baseline']:.1f} %",
            f"{100 * of['difference']:+.2f} ({100 * of['low']:+.2f} to {100 * of['high']:+.2f})",
        ]],
    )  # fmt: skip


def gpu_sharing() -> str:
    """Thousands of images per second of all trials together."""
    figures = _read(BENCHMARKS / "gpu.json")
    rows = [row for row in figures["parts"]["sharing"]["rows"] if "images_per_s" in row]
    counts = sorted({row["trials"] for row in rows})
    rates = {(row["arch"], row["way"], row["trials"]): row["images_per_s"] for row in rows}
    return table(
        [f"on one {figures['machine']['device']}", "way", *(f"{n} at once" for n in counts)],
        (
            [arch, way, *(f"{rates[arch, way, n] / 1e3:.1f}" if (arch, way, n) in rates else "—"
                          for n in counts)]
            for arch, way in dict.fromkeys((row["arch"], row["way"]) for row in rows)
        ),
    )  # fmt: skip


def overhead() -> str:
    """What a search adds to each trial, and how many of many slots are busy."""
    file = _read(BENCHMARKS / "overhead.json")
    lines = []
    for name, seconds in file["seconds_per_trial"].items():
        busy = file["busy_share"].get(name)
        lines.append([
            name, f"{median(seconds):.2f}",
            f"{file['seconds_over_the_floor'].get(name, 0):.2f}",
            "–" if busy is None else f"{busy:.2f}",
        ])  # fmt: skip
    sizes = file["sizes"]
    busy = f"busy share of {sizes['slots']} slots, trials of {sizes['sleep']:g} s"
    around = table(["", "s per trial", "beyond the bare Tuner, s", busy], lines)
    short = file.get("short_trials")
    if short is None:
        return around
    case = f"{sizes['slots']} slots, trials of {sizes['short_sleep']:g} s"
    return f"{around}\n" + table(
        [case, "busy share, bare Tuner", "busy share, known-cost", "median wait for a trial, s"],
        [[
            f"repetition {number}", *(f"{row[key]:.2f}" for key in
                                      ("bare_busy_share", "busy_share", "median_wait")),
        ] for number, row in enumerate(
            (dict(zip(short, values, strict=True)) for values in zip(*short.values(), strict=True)),
            1,
        )],
    )  # fmt: skip


def large_study() -> str:
    """Operations on a study of thousands of trials."""
    file = _read(BENCHMARKS / "overhead.json")
    return table(
        [f"operation, {file['sizes']['stored']:,} trials in SQLite", "seconds"],
        ([timing["operation"], f"{timing['seconds']:.2f}"] for timing in file["study"]),
    )


def reference_networks() -> str:
    """Test accuracies of the reference run."""
    rows = comparison_rows(_read(REFERENCE / "retrained" / "summary.json"))
    return table(
        ["network", "FLOPs", "parameters", "seeds", "test accuracy"],
        ([row[key] for key in ("network", "macs", "params", "seeds", "test")] for row in rows),
    )


def reference_differences() -> str:
    """Differences of the reference run with intervals, as they are and for all jointly."""
    summary = _read(REFERENCE / "retrained" / "summary.json")
    rows, degrees = summary["differences"], summary["noise"]["degrees_of_freedom"]
    twins = sum(row["family"] == "twin" for row in rows)
    alpha = 1 - summary["confidence"]
    single, joint = (stats.t.ppf(1 - alpha / 2 / n, degrees) for n in (1, twins))
    seeds = {row["name"]: row["seeds"] for row in summary["networks"]}
    lines = []
    for row in rows:
        middle, low, high = (100 * row[name] for name in ("difference", "low", "high"))
        half = (high - low) / 2 * joint / single
        adjusted = (
            f"{middle - half:+.2f} to {middle + half:+.2f}" if row["family"] == "twin" else ""
        )
        both = f"{seeds[row['network']]} and {seeds[row['reference']]}"
        lines.append([
            f"{row['network']} − {row['reference']}", f"{row['macs_ratio']:.2f}", both,
            f"{middle:+.2f}", f"{low:+.2f} to {high:+.2f}", adjusted or "–",
        ])  # fmt: skip
    return table(
        ["difference", "FLOPs, reference / network", "seeds", "points", "95 % interval",
         f"adjusted for {twins} twins"],
        lines,
    )  # fmt: skip


def reference_noise() -> str:
    """Where the intervals come from."""
    noise = _read(REFERENCE / "retrained" / "summary.json")["noise"]
    return (
        f"Intervals are from a standard deviation of {100 * noise['sd']:.2f} points between "
        f"seeds, pooled over the networks of two seeds ({noise['degrees_of_freedom']:g} degrees of "
        "freedom).\n"
    )


def reference_60_epochs() -> str:
    """The network that was trained for the whole recipe."""
    (folder,) = (REFERENCE / "60-epochs" / "retrained").glob("*/")
    metrics = _read(folder / "metrics.json")
    return table(
        ["network", "FLOPs", "parameters", "epochs", "seeds", "test accuracy"],
        [[folder.name, format_count(metrics["macs"]), format_count(metrics["params"]),
          str(metrics["epochs"]), "1", f"{100 * metrics['test_accuracy']:.2f} %"]],
    )  # fmt: skip


def small_data() -> str:
    """Full training on few images."""
    heading, *lines = small_rows(_read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def retraining_ideas() -> str:
    """What else was tried in the full recipe."""
    heading, *lines = idea_rows(_read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def short_runs() -> str:
    """Learning rates by short runs and by whole trainings."""
    heading, *lines = rate_rows(_read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def folded() -> str:
    """How much faster the repository's network is once folded."""
    (path,) = (REFERENCE / "60-epochs" / "retrained").glob("*/export.json")
    seconds = _read(path)["seconds"]
    return table(
        ["images at a time", "times faster"],
        (
            [batch, f"{seconds['trained'][batch] / seconds['folded'][batch]:.2f}"]
            for batch in seconds["trained"]
        ),
    )


def int8() -> str:
    """Float and int8 files of networks of the reference front: accuracy, bytes, latency."""
    rows = []
    for row in sorted(_read(BENCHMARKS / "int8.json")["networks"], key=lambda row: row["params"]):
        size, float_size = row["bytes"], row["float_bytes"]
        rows.append(
            [
                f"`{row['arch_id']}`",
                f"{row['params']:,}",
                f"{100 * row['float_accuracy']:.2f} %",
                f"{100 * row['accuracy']:.2f} %",
                f"{float_size / 1000:.1f} kB",
                f"{size / 1000:.1f} kB",
                f"{size / float_size:.2f}",
                f"{1e3 * row['float_seconds']:.2f} ms",
                f"{1e3 * row['seconds']:.2f} ms",
            ]
        )
    heads = ["network", "parameters", "float", "int8", "file, float", "file, int8", "ratio"]
    return table([*heads, "latency, float", "latency, int8"], rows)


MAKERS: tuple[Callable[[], str], ...] = (
    sampler, sampler_synthetic, sampler_peers, transfer, estimates, end_to_end, early_stopping,
    stopping, stopping_coverage, stopping_recorded, training_loss, schedule, operator, training,
    training_accuracy, gpu_sharing, overhead, large_study, reference_networks,
    reference_differences, reference_noise, reference_60_epochs, folded, small_data,
    retraining_ideas, short_runs, int8,
)  # fmt: skip


def tables() -> dict[str, str]:
    """The text of every file in docs/tables, by name."""
    return {f"{maker.__name__.replace('_', '-')}.md": maker() for maker in MAKERS}


def main() -> None:
    """Write the files."""
    TABLES.mkdir(exist_ok=True)
    for name, text in tables().items():
        (TABLES / name).write_text(text)


if __name__ == "__main__":
    main()
