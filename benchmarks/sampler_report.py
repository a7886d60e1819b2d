"""Prints the sampler benchmark, writes its rows and its figure.

Run as `python runners/benchmark.py sampler --table generated:mixed --json FILE`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.baselines import SAMPLERS
from benchmarks.cache import ReplayCache
from benchmarks.sampler import (
    SYNTHETIC,
    Job,
    Outcome,
    bars,
    best_other,
    marks,
    outcomes,
    rows,
    run,
)
from nas.progress import shown

COLOURS = ("#d62728", "#9467bd", "#1f77b4", "#2ca02c", "#ff7f0e", "#7f7f7f")
COLUMNS = 2
TABLES_ONLY = ("botorch",)  # too slow for the full space: five minutes a run


def run_and_report(
    sources: Sequence[str],
    samplers: Sequence[str],
    *,
    seeds: int,
    evaluations: int,
    noise: bool,
    json_path: Path | None,
    workers: int,
    cache_folder: Path,
) -> None:
    """Make all replays, print the tables, write the JSON file and the figure.

    Args:
        sources: as `load_problem` reads them.
        samplers: names out of `SAMPLERS`; `NAME:K` for at most K seeds on a table.
        seeds: runs of each sampler on each table.
        evaluations: of each run.
        noise: see `replay`.
        json_path: file of the rows; the figure is written beside it as HTML.
        workers: processes.
        cache_folder: where finished replays are stored.

    Raises:
        ValueError: one line that names the argument and what is accepted.
    """
    if not sources:
        raise ValueError("--table: none given; accepted: a file, generated:KIND, or --synthetic N")
    jobs = [
        Job(source, sampler, seed, evaluations, noise)
        for source in dict.fromkeys(sources)
        for sampler, runs in _seeds_of(samplers, seeds).items()
        # Synthetic accuracies on the full space are the seeds: each is searched once.
        for seed in range(1 if source.startswith(SYNTHETIC) else runs)
        if not (source.startswith(SYNTHETIC) and sampler in TABLES_ONLY)
    ]
    replays = run(jobs, ReplayCache(cache_folder), workers, shown("replays"))
    scored = outcomes(replays)
    console = Console(width=None if Console().is_terminal else 160)
    print_outcomes(scored, console)
    print_bars(bars(scored), console)
    if json_path is not None:
        report = {
            "rows": rows(scored),
            "bars": bars(scored),
            "noise": noise,
            "environment": environment(),
        }
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(report, indent=1) + "\n")
        write_figure(scored, json_path.with_suffix(".html"))
        console.print(f"written: {json_path} and {json_path.with_suffix('.html')}")


def _seeds_of(samplers: Sequence[str], seeds: int) -> dict[str, int]:
    """Runs on each table by sampler."""
    runs = {}
    for item in samplers:
        name, colon, most = item.partition(":")
        if name not in SAMPLERS or (colon and (not most.isdecimal() or int(most) < 1)):
            raise ValueError(
                f"--samplers: {item!r} is not known; accepted: {','.join(SAMPLERS)}, "
                "each also with its greatest number of seeds, as in botorch:5"
            )
        runs[name] = min(seeds, int(most)) if colon else seeds
    return runs


def print_outcomes(scored: Sequence[Outcome], console: Console) -> None:
    """A grid for each table with a line for each sampler."""
    for table in dict.fromkeys(outcome.table for outcome in scored):
        here = [outcome for outcome in scored if outcome.table == table]
        length = here[0].curves.shape[1]
        grid = Grid(title=f"{table}: normalised hypervolume, median [quartiles]")
        grid.add_column("sampler")
        grid.add_column("seeds", justify="right")
        for mark in marks(length):
            grid.add_column(f"after {mark}", justify="right")
        for column in ("distinct", "reaches best other", "ms per ask"):
            grid.add_column(column, justify="right")
        for outcome in here:
            cells = [outcome.sampler, str(len(outcome.curves))]
            for mark in marks(length):
                low, middle, high = outcome.quartiles(mark)
                cells.append(f"{middle:.4f} [{low:.3f} {high:.3f}]")
            target = best_other(here, outcome)
            reached = outcome.reaches(target) if target is not None else None
            cells.append(f"{outcome.distinct:g}")
            cells.append("never" if reached is None else f"after {reached}")
            cells.append(f"{outcome.ms_per_ask:.0f}")
            grid.add_row(*cells)
        console.print(grid)


def print_bars(comparisons: Sequence[dict[str, Any]], console: Console) -> None:
    """`known-cost` against the best of the others; see `benchmarks.sampler.bars`."""
    if not comparisons:
        return
    grid = Grid(title="known-cost against the others")
    names = {
        "against_optuna": "(1-hv) / Optuna's best",
        "half_way": "hv at 1/2 - Optuna's at end",
        "quarter_way": "hv at 1/4 - Optuna's",
        "against_botorch": "(1-hv) / botorch",
        "time_against_botorch": "time / botorch",
    }
    grid.add_column("table")
    for heading in names.values():
        grid.add_column(heading, justify="right")
    for row in comparisons:
        cells = [f"{value:.3f}" if (value := row.get(name)) is not None else "-" for name in names]
        grid.add_row(row["table"], *cells)
    console.print(grid)


def environment() -> dict[str, str]:
    """Versions and machine of the measurement."""
    packages = ("dyclotnet-nas", "optuna", "botorch", "torch", "numpy", "scipy")
    return {
        **{name: version(name) for name in packages},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "ms_per_ask": "processor time of one thread",
    }


def write_figure(scored: Sequence[Outcome], path: Path) -> None:
    """Median and quartiles of 1 - hypervolume over evaluations, one panel per table."""
    tables = list(dict.fromkeys(outcome.table for outcome in scored))
    columns = min(COLUMNS, len(tables))
    figure = make_subplots(-(-len(tables) // columns), columns, subplot_titles=tables)
    for outcome in scored:
        place = tables.index(outcome.table)
        row, column = place // columns + 1, place % columns + 1
        colour = COLOURS[SAMPLERS.index(outcome.sampler)]
        rest = np.maximum(1.0 - outcome.curves, 1e-4)
        low, middle, high = np.percentile(rest, (25, 50, 75), axis=0)
        x = np.arange(1, len(middle) + 1)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=middle,
                name=outcome.sampler,
                legendgroup=outcome.sampler,
                showlegend=place == 0,
                line={"color": colour, "width": 2},
            ),
            row,
            column,
        )
        figure.add_trace(
            go.Scatter(
                x=np.concatenate([x, x[::-1]]),
                y=np.concatenate([high, low[::-1]]),
                fill="toself",
                fillcolor=colour,
                opacity=0.15,
                line={"width": 0},
                legendgroup=outcome.sampler,
                showlegend=False,
                hoverinfo="skip",
            ),
            row,
            column,
        )
    figure.update_yaxes(type="log", title="1 - normalised hypervolume", tickformat=".0e")
    figure.update_xaxes(title="evaluations")
    figure.update_layout(
        template="plotly_white",
        height=80 + 320 * -(-len(tables) // columns),
        width=540 * columns,
        margin={"t": 50, "b": 50, "l": 80, "r": 20},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(path, include_plotlyjs="cdn")
