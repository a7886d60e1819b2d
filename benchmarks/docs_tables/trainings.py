"""Tables of trainings and of trained networks: speed, accuracy, recipes, exported files."""

from __future__ import annotations

from statistics import geometric_mean, median
from typing import Any

from benchmarks.docs_tables.markdown import BENCHMARKS, REFERENCE, read, table
from benchmarks.retraining_report import (
    idea_rows,
    length_rows,
    long_idea_rows,
    quick_idea_rows,
    rate_rows,
    small_rows,
)
from benchmarks.small_knees import knee_rows
from benchmarks.trained_front import comparison_rows, version_rows


def operator() -> str:
    """The compiled kernels against the fastest and the leanest plain version."""
    file = read(BENCHMARKS / "operator.json")
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
    for run in read(BENCHMARKS / f"{name}.json")["rows"]:
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
    of = read(BENCHMARKS / "training-accuracy.json")["summary"]
    return table(
        ["pairs of trainings", "trainer", "baseline", "difference, points (95 % interval)"],
        [[
            str(of["pairs"]), f"{100 * of['ours']:.1f} %", f"{100 * of['baseline']:.1f} %",
            f"{100 * of['difference']:+.2f} ({100 * of['low']:+.2f} to {100 * of['high']:+.2f})",
        ]],
    )  # fmt: skip


def gpu_sharing() -> str:
    """Thousands of images per second of all trials together."""
    figures = read(BENCHMARKS / "gpu.json")
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


def small_data() -> str:
    """Full training on few images."""
    heading, *lines = small_rows(read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def small_knees() -> str:
    """Networks that searches on few images chose, after the short schedule and in full."""
    heading, *lines = knee_rows(read(BENCHMARKS / "small-knees.json")["rows"])
    return table(heading, lines)


def trained_front() -> str:
    """What a trained front costs, by today's commands and by an earlier version's."""
    figures = read(BENCHMARKS / "trained-front.json")
    (runs, *of_runs), (both, *of_both) = (
        version_rows(figures["rows"]),
        comparison_rows(figures["summary"]),
    )
    return f"{table(runs, of_runs)}\n{table(both, of_both)}"


def retraining_ideas() -> str:
    """What else was tried in the full recipe."""
    heading, *lines = idea_rows(read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def retraining_long_ideas() -> str:
    """The same on the whole training split."""
    heading, *lines = long_idea_rows(read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def retraining_quick_ideas() -> str:
    """Changes of today's recipe without clipping, in about the same time."""
    heading, *lines = quick_idea_rows(read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def retraining_lengths() -> str:
    """Test accuracies by today's recipe and by the earlier form."""
    heading, *lines = length_rows(read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def short_runs() -> str:
    """Learning rates by short runs and by whole trainings."""
    heading, *lines = rate_rows(read(BENCHMARKS / "retraining.json")["rows"])
    return table(heading, lines)


def folded() -> str:
    """How much faster the repository's network is once folded."""
    (path,) = (REFERENCE / "60-epochs" / "retrained").glob("*/export.json")
    seconds = read(path)["seconds"]
    return table(
        ["images at a time", "times faster"],
        (
            [batch, f"{seconds['trained'][batch] / seconds['folded'][batch]:.2f}"]
            for batch in seconds["trained"]
        ),
    )


def int8() -> str:
    """Float and int8 files of networks of an earlier front: accuracy, bytes, latency."""
    rows = []
    for row in sorted(read(BENCHMARKS / "int8.json")["networks"], key=lambda row: row["params"]):
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


def latency_model() -> str:
    """Median relative errors of predicted latencies on unseen networks, by backend."""
    file = read(BENCHMARKS / "latency-model.json")

    def percent(values: list[float]) -> str:
        middle, least, greatest = (f"{100 * value:.1f}" for value in values)
        return f"{middle} % ({least} to {greatest})"

    return table(
        ["latency with", "sum over layers", "multiply-adds alone", "noise of a measurement"],
        (
            [name, percent(of["errors"]["model"]), percent(of["errors"]["macs"]),
             f"{100 * of['errors']['noise']:.1f} %"]
            for name, of in file.items()
            if isinstance(of, dict)
        ),
    )  # fmt: skip


def int8_accuracy() -> str:
    """Fake quantisation beside ONNX Runtime, and accuracy in int8 beside that in float."""
    summary = read(BENCHMARKS / "int8-accuracy.json")["summary"]
    agreement, loss, added, ranks = (summary[n] for n in ("agreement", "loss", "added", "int8"))

    def points(share: float) -> str:
        return f"{100 * share:.2f}"

    def spread_points(of: dict[str, float]) -> str:
        return f"{points(of['median'])} ({points(of['least'])} to {points(of['most'])})"

    in_float, in_int8, in_both = ranks["on_front"]
    rows = [
        ["networks (trainings)", f"{ranks['networks']} ({summary['trainings']})"],
        [
            "fake quantisation and ONNX Runtime differ by, points of accuracy",
            f"{points(agreement['median'])} in the median, at most {points(agreement['most'])}",
        ],
        ["float and ONNX Runtime differ by at most, points", points(agreement["float_most"])],
        ["int8 loses against float, points", spread_points(loss)],
        [
            "rank correlation of float and int8 at equal multiply-adds",
            "{:.3f} ({:.3f} to {:.3f})".format(*ranks["partial"]),
        ],
        ["on the front in float, in int8, in both", f"{in_float}, {in_int8}, {in_both}"],
        ["a trial takes longer by", f"{spread_points(added)} %"],
    ]
    if "seeds" in summary:
        seeds = summary["seeds"]
        correlation = "{:.3f} ({:.3f} to {:.3f})".format(*seeds["partial"])
        rows.insert(5, ["the same of two trainings in float", correlation])
    return table(["", "measured"], rows)
