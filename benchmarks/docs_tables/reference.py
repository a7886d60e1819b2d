"""Tables of the reference run."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.docs_tables.markdown import REFERENCE, read, table
from benchmarks.end_to_end import REFERENCE_ERROR
from nas.format import format_count
from nas.pareto import hypervolume
from nas.report.comparison_plots import comparison_rows

SEARCHES = REFERENCE / "searches"  # a folder for each seed
BUDGETS = (500_000, 1_000_000, 2_000_000, 4_000_000)  # multiply-adds; the last is the limit


def reference_searches() -> str:
    """What searches with different seeds find, and how much of it is the same."""
    folders = sorted(SEARCHES.iterdir())
    fronts = [read(folder / "front.json")["architectures"] for folder in folders]
    union = _volume([entry for front in fronts for entry in front])
    lines = []
    for folder, front in zip(folders, fronts, strict=True):
        trials = pd.read_csv(folder / "trials.csv", parse_dates=["started", "ended"])
        minutes = (trials["ended"].max() - trials["started"].min()).total_seconds() / 60
        within = [[e["estimate"] for e in front if e["macs"] <= budget] for budget in BUDGETS]
        lines.append([
            folder.name, f"{minutes:.0f}", f"{trials['seconds'].sum() / 3600:.2f}",
            str((trials["state"] == "pruned").sum()), str(len(front)),
            f"{_volume(front) / union:.3f}", *(f"{100 * max(found):.1f} %" for found in within),
        ])  # fmt: skip
    return table(
        ["seed", "minutes", "hours of training, one thread", "stopped early", "on the front",
         "hypervolume, of the three together",
         *(f"best within {format_count(budget)}" for budget in BUDGETS)],
        lines,
    )  # fmt: skip


def reference_overlap() -> str:
    """How many members of one search's front another one found, and what all have in common."""
    fronts = [read(path)["architectures"] for path in sorted(SEARCHES.glob("*/front.json"))]
    found = Counter(arch for front in fronts for arch in {entry["arch_id"] for entry in front})
    shared = sum(count > 1 for count in found.values())
    blocks = [
        stage["expansion"] for front in fronts for e in front for stage in e["arch"]["stages"]
    ]
    return (
        f"Of the {len(found)} networks on the {len(fronts)} fronts, {shared} are on more than one; "
        f"{100 * blocks.count('dct') / len(blocks):.0f} % of their stages expand with DCT.\n"
    )


def _volume(front: list[dict[str, Any]]) -> float:
    """Hypervolume of estimates, in log10 multiply-adds and error, up to the limit and guessing."""
    points = np.array([[math.log10(e["macs"]), 1 - e["estimate"]] for e in front])
    return hypervolume(points, np.array([math.log10(BUDGETS[-1]), REFERENCE_ERROR]))


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
