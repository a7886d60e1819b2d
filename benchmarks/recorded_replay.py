"""Replays of the stopping rule on recorded searches, with training losses and without.

Networks of equal cost are ranked by partial rank correlation. Run as
`python runners/benchmark.py stopping --recorded --json FILE`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.curves import CurveTable
from benchmarks.recorded_coverage import recorded_searches
from benchmarks.recorded_curves import RecordedSearch
from benchmarks.schedule import partial, rank_correlations
from benchmarks.stopping import replay
from benchmarks.stopping_rules import front_rule
from nas.progress import Progress, shown, silent
from nas.stopping.rule import StoppingSettings, rungs

IN_FLIGHT = 2
CONFIDENCES = (StoppingSettings.confidence, 0.98)


def measure(
    searches: list[RecordedSearch], orders: int, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Means over random orders of the trials, the same for all rows of a search.

    Returns:
        A row for each search, confidence, and with losses (where they are kept) or without.
    """
    work = []
    for search in searches:
        table = search.table()
        plain = replace(table, losses=None)
        for confidence in CONFIDENCES:
            work += [(plain, confidence)] + [(table, confidence)] * (table.losses is not None)
    return [_row(table, confidence, orders) for table, confidence in progress(work, len(work))]


def _row(table: CurveTable, confidence: float, orders: int) -> dict[str, Any]:
    rule, outcomes = front_rule(confidence, table.epochs, table.images), []
    for seed in range(orders):
        order = np.random.default_rng(seed).permutation(len(table.macs)).tolist()
        outcomes.append(replay(table, rule, order, rungs(table.epochs), IN_FLIGHT))
    volumes = [outcome.hypervolume for outcome in outcomes]
    return {
        "search": table.name,
        "losses": table.losses is not None,
        "confidence": confidence,
        "hypervolume": fmean(volumes),
        "error": stdev(volumes) / orders**0.5,
        "epochs": fmean(outcome.epochs for outcome in outcomes),
    }


def correlations(search: RecordedSearch) -> dict[str, list[float]]:
    """Partial rank correlations with the final accuracy, multiply-adds regressed out.

    Returns:
        `accuracy` and `loss`: those of the accuracy at each rung before the last, and of the
        training loss of its epoch, where less is better.
    """
    curves = [trial.curve for trial in search.trials]
    costs = [curve.costs[0] for curve in curves]
    final = [curve.curve[search.epochs] for curve in curves]
    found: dict[str, list[float]] = {"accuracy": [], "loss": []}
    for rung in rungs(search.epochs)[:-1]:
        accuracies = [curve.curve[rung] for curve in curves]
        losses = [-trial.curve.losses[rung - 1] for trial in search.trials]
        rho = rank_correlations(np.array([accuracies, losses, final, costs]))
        found["accuracy"].append(partial(rho, 0, 2, 3))
        found["loss"].append(partial(rho, 1, 2, 3))
    return found


def run_and_report(orders: int, json_path: Path | None) -> None:
    """Replay all recorded searches, print tables, write the figures.

    Raises:
        ValueError: fewer than two orders, which have no spread.
    """
    if orders < 2:
        raise ValueError(f"--orders: {orders}; accepted: 2 or more with --recorded")
    searches = recorded_searches()
    rows = measure(searches, orders, shown("replays"))
    ranks = {
        search.name: correlations(search) for search in searches if search.trials[0].curve.losses
    }
    grid = Table(title=f"Shares of no stopping, {orders} orders, {IN_FLIGHT} trials at a time")
    for column in ("search", "losses", "confidence", "hypervolume", "epochs"):
        grid.add_column(column, justify="left" if column == "search" else "right")
    for row in rows:
        grid.add_row(
            row["search"],
            "yes" if row["losses"] else "no",
            f"{row['confidence']:g}",
            f"{row['hypervolume']:.4f} ± {row['error']:.4f}",
            f"{row['epochs']:.3f}",
        )
    console = Console(width=None if Console().is_terminal else 100)
    console.print(grid)
    for name, found in ranks.items():
        for what, values in found.items():
            text = ", ".join(f"{value:.2f}" for value in values)
            console.print(f"{name}, {what} with the final accuracy at equal cost: {text}")
    if json_path is not None:
        data = {"orders": orders, "rows": rows, "correlations": ranks}
        json_path.write_text(json.dumps(data, indent=2) + "\n")
