"""The command of the transfer benchmark: all searches, their scores and the table of them.

The cold start goes on for twice as many evaluations as the other searches of the target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.rows import RowFile
from benchmarks.transfer import COLD, KEY, MARKS, PLAIN, WAYS, TransferJob, check_pair, key, run
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
        json_path: file of the rows; an unfinished one is continued, and may hold other pairs.
        workers: processes.

    Raises:
        ValueError: one line that names the argument and what is accepted.
    """
    check_pair(source, target)
    rows = RowFile(json_path, {"trials": trials, "evaluations": evaluations}, KEY)
    jobs = [
        TransferJob(source, target, way, seed, trials, evaluations * (2 if way == COLD else 1))
        for seed in range(seeds)
        for way in WAYS
    ]
    run(jobs, rows, workers, shown("searches"))
    wanted = {key(job) for job in jobs}
    here = [row for row in rows if tuple(row[name] for name in KEY) in wanted]
    print_summary(f"{here[0]['source']} to {here[0]['target']}", summarise(here, evaluations))
    rows.write({"summary": summaries(list(rows), evaluations)})


def summaries(rows: list[dict[str, Any]], evaluations: int) -> list[dict[str, Any]]:
    """A summary for each pair of tables, as plain values for JSON, which knows no infinity."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        pairs.setdefault((row["source"], row["target"]), []).append(row)
    result = []
    for (source, target), here in pairs.items():
        ways = summarise(here, evaluations)
        for way in ways:
            if way["reaches_cold"] is not None and np.isinf(way["reaches_cold"]):
                way["reaches_cold"] = None
        result.append({"source": source, "target": target, "ways": ways})
    return result


def summarise(rows: list[dict[str, Any]], evaluations: int) -> list[dict[str, Any]]:
    """A row for each way of searching, over its seeds.

    `reaches_cold`: the median over the seeds of the evaluations until the hypervolume that the
    cold start of the same seed has after `evaluations`; a seed that never gets there counts as
    infinite. `plain`: mean difference to the plain trick of the same seed, and its standard error.
    """
    curves: dict[str, dict[int, Array]] = {}
    for row in rows:
        curves.setdefault(row["way"], {})[row["seed"]] = np.array(row["hypervolume"])
    summary = []
    for way in (way for way in WAYS if way in curves):
        here = curves[way]
        ends = {seed: curve[evaluations - 1] for seed, curve in curves.get(COLD, {}).items()}
        marks = {}
        length = len(next(iter(here.values())))
        for mark in sorted({m for m in (*MARKS, evaluations) if m <= length} | {length}):
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
    both = sorted(
        seed
        for seed in here.keys() & plain.keys()
        if min(len(here[seed]), len(plain[seed])) >= mark
    )
    if len(both) < 2:
        return {}
    values = np.array([here[seed][mark - 1] - plain[seed][mark - 1] for seed in both])
    return {"mean": float(values.mean()), "error": float(values.std(ddof=1) / len(both) ** 0.5)}


def print_summary(pair: str, summary: list[dict[str, Any]]) -> None:
    """Print the table of a pair."""
    console = Console(width=None if Console().is_terminal else 170)
    grid = Grid(
        title=f"{pair}: normalised hypervolume, median "
        "(part of the cold start's; in the worst seed) difference to the plain trick"
    )
    grid.add_column("search of the target")
    grid.add_column("seeds", justify="right")
    marks = sorted({mark for row in summary for mark in row["marks"]})
    for mark in marks:
        grid.add_column(f"after {mark}", justify="right")
    grid.add_column("reaches the cold start's end", justify="right")
    grid.add_column("ms per ask", justify="right")
    for row in summary:
        cells = [row["way"], str(row["seeds"])]
        for mark in marks:
            scores = row["marks"].get(mark)
            if scores is None:
                cells.append("-")
                continue
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
