"""The command of the transfer benchmark: all searches, their scores and the table of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.rows import RowFile
from benchmarks.transfer import (
    COLD,
    MARKS,
    PLAIN,
    WAYS,
    TransferJob,
    check_pair,
    run,
    table_problem,
)
from nas.progress import shown

Array = NDArray[np.float64]


def run_and_report(
    source: str,
    target: str,
    *,
    trials: int,
    evaluations: int,
    seeds: int,
    json_path: Path | None,
    workers: int,
) -> None:
    """Make all searches, print their table and write the rows.

    Args:
        source: as `load_problem` reads it; the same for `target`.
        target: the table of the second search.
        trials: evaluations of the first search.
        evaluations: of the second search.
        seeds: pairs of searches.
        json_path: file of the rows; an unfinished one is continued.
        workers: processes.

    Raises:
        ValueError: one line that names the argument and what is accepted.
    """
    check_pair(source, target)
    prints = [table_problem("--table", name).fingerprint for name in (source, target)]
    setting = {
        "source": table_problem("--source", source).name,
        "target": table_problem("--target", target).name,
        "fingerprints": prints,
        "trials": trials,
        "evaluations": evaluations,
    }
    rows = RowFile(json_path, setting, ("way", "seed"))
    jobs = [
        TransferJob(source, target, way, seed, trials, evaluations)
        for seed in range(seeds)
        for way in WAYS
    ]
    run(jobs, rows, workers, shown("searches"))
    wanted = {(job.way, job.seed) for job in jobs}
    print_summary(setting, [row for row in rows if (row["way"], row["seed"]) in wanted], rows)


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each way of searching, over its seeds.

    `reaches_cold`: the median over the seeds of the evaluations until the hypervolume that the
    cold start of the same seed has at its end; a seed that never gets there counts as infinite.
    `against_plain`: mean difference to the plain trick of the same seed, and its standard error.
    """
    curves: dict[str, dict[int, Array]] = {}
    for row in rows:
        curves.setdefault(row["way"], {})[row["seed"]] = np.array(row["hypervolume"])
    summary = []
    for way in (way for way in WAYS if way in curves):
        here = curves[way]
        ends = {seed: curve[-1] for seed, curve in curves.get(COLD, {}).items()}
        marks = {}
        length = len(next(iter(here.values())))
        for mark in sorted({m for m in MARKS if m <= length} | {length}):
            values = np.array([curve[mark - 1] for curve in here.values()])
            marks[mark] = {
                "median": float(np.median(values)),
                "worst": float(values.min()),
                "cold": _ratios(here, curves.get(COLD, {}), mark),
                "plain": _difference(here, curves.get(PLAIN, {}), mark),
            }
        needed = [
            float(np.argmax(curve >= ends[seed])) + 1 if curve.max() >= ends[seed] else np.inf
            for seed, curve in here.items()
            if seed in ends
        ]
        asks = [row["ms_per_ask"] for row in rows if row["way"] == way]
        summary.append(
            {
                "way": way,
                "seeds": len(here),
                "marks": marks,
                "reaches_cold": float(np.median(needed)) if needed else None,
                "ms_per_ask": float(np.median(asks)),
            }
        )
    return summary


def _ratios(here: dict[int, Array], cold: dict[int, Array], mark: int) -> dict[str, float]:
    """Hypervolume in parts of the cold start's median, in the median and the worst seed."""
    if not cold:
        return {}
    level = float(np.median([curve[mark - 1] for curve in cold.values()]))
    values = np.array([curve[mark - 1] for curve in here.values()]) / level
    return {"median": float(np.median(values)), "worst": float(values.min())}


def _difference(here: dict[int, Array], plain: dict[int, Array], mark: int) -> dict[str, float]:
    """Mean difference to the plain trick of the same seeds, and its standard error."""
    both = sorted(here.keys() & plain.keys())
    if len(both) < 2:
        return {}
    values = np.array([here[seed][mark - 1] - plain[seed][mark - 1] for seed in both])
    return {"mean": float(values.mean()), "error": float(values.std(ddof=1) / len(both) ** 0.5)}


def print_summary(setting: dict[str, Any], rows: list[dict[str, Any]], file: RowFile) -> None:
    """Print the table and write the summary beside the rows."""
    summary = summarise(rows)
    console = Console(width=None if Console().is_terminal else 170)
    grid = Grid(
        title=f"{setting['source']} to {setting['target']}: normalised hypervolume, "
        "median (part of the cold start's; in the worst seed) difference to the plain trick"
    )
    grid.add_column("search of the target")
    grid.add_column("seeds", justify="right")
    for mark in summary[0]["marks"]:
        grid.add_column(f"after {mark}", justify="right")
    grid.add_column("reaches the cold start's end", justify="right")
    grid.add_column("ms per ask", justify="right")
    for row in summary:
        cells = [row["way"], str(row["seeds"])]
        for scores in row["marks"].values():
            cell = f"{scores['median']:.4f}"
            if scores["cold"]:
                cell += f" ({scores['cold']['median']:.3f}; {scores['cold']['worst']:.3f})"
            if scores["plain"]:
                cell += f" {scores['plain']['mean']:+.4f} ± {scores['plain']['error']:.4f}"
            cells.append(cell)
        reached = row["reaches_cold"]
        cells.append("-" if reached is None or np.isinf(reached) else f"after {reached:g}")
        grid.add_row(*cells, f"{row['ms_per_ask']:.0f}")
    console.print(grid)
    for row in summary:  # JSON knows no infinity
        if row["reaches_cold"] is not None and np.isinf(row["reaches_cold"]):
            row["reaches_cold"] = None
    file.write({"summary": summary})
