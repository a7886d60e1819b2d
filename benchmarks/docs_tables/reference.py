"""Tables of the reference run."""

from __future__ import annotations

from typing import Any

from benchmarks.docs_tables.markdown import REFERENCE, read, table
from nas.format import format_count
from nas.report.comparison_plots import comparison_rows


def reference_networks() -> str:
    """Test accuracies of the reference run."""
    rows = comparison_rows(read(REFERENCE / "retrained" / "summary.json"))
    return table(
        ["network", "FLOPs", "parameters", "seeds", "test accuracy"],
        ([row[key] for key in ("network", "macs", "params", "seeds", "test")] for row in rows),
    )


def reference_differences() -> str:
    """Differences of the reference run with intervals, as they are and for all jointly."""
    summary = read(REFERENCE / "retrained" / "summary.json")
    seeds = {row["name"]: row["seeds"] for row in summary["networks"]}
    lines = [
        [f"{row['network']} − {row['reference']}", f"{row['macs_ratio']:.2f}",
         f"{seeds[row['network']]} and {seeds[row['reference']]}", *_points(row)]
        for row in summary["differences"]
    ] + [
        [f"**the {row['pairs']} pairs together**", "", "", *_points(row)]
        for row in summary["pooled"]
    ]  # fmt: skip
    return table(
        ["difference", "FLOPs, reference / network", "seeds", "points", "95 % interval",
         f"adjusted for {summary['comparisons']} comparisons"],
        lines,
    )  # fmt: skip


def _points(row: dict[str, Any]) -> list[str]:
    """A difference and its two intervals, in points of accuracy."""
    names = ("difference", "low", "high", "joint_low", "joint_high")
    middle, *ends = (f"{100 * row[name]:+.2f}" for name in names)
    return [middle, f"{ends[0]} to {ends[1]}", f"{ends[2]} to {ends[3]}"]


def reference_noise() -> str:
    """Where the intervals come from."""
    noise = read(REFERENCE / "retrained" / "summary.json")["noise"]
    return (
        f"Intervals are from a standard deviation of {100 * noise['sd']:.2f} points between "
        f"seeds, pooled over the networks of two seeds ({noise['degrees_of_freedom']:g} degrees of "
        "freedom).\n"
    )


def reference_60_epochs() -> str:
    """The network that was trained for the whole recipe."""
    (folder,) = (REFERENCE / "60-epochs" / "retrained").glob("*/")
    metrics = read(folder / "metrics.json")
    return table(
        ["network", "FLOPs", "parameters", "epochs", "seeds", "test accuracy"],
        [[folder.name, format_count(metrics["macs"]), format_count(metrics["params"]),
          str(metrics["epochs"]), "1", f"{100 * metrics['test_accuracy']:.2f} %"]],
    )  # fmt: skip
