"""Prints the schedule benchmark and writes its figures.

Run as `python runners/benchmark.py schedule --json FILE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.rows import RowFile
from benchmarks.schedule import KEY, SCHEDULES, jobs, measure, summarise
from nas.data import load_search_data
from nas.progress import shown
from nas.space.space import SearchSpace


def run_and_report(
    datasets: Sequence[str],
    architectures: int,
    space_file: Path,
    data_dir: Path,
    workers: int,
    json_path: Path | None,
) -> None:
    """Train every schedule on every architecture; an unfinished file is continued.

    Raises:
        ValueError: the data set has no schedules, or the file is of another setting.
    """
    for name in datasets:
        if name not in SCHEDULES:
            raise ValueError(f"--datasets: {name!r}; accepted: {', '.join(SCHEDULES)}")
    space = SearchSpace.from_yaml(space_file)
    recipes = {
        name: {schedule: r.model_dump(mode="json") for schedule, r in SCHEDULES[name].items()}
        for name in datasets
    }
    loaded = {name: load_search_data(name, data_dir, download=False) for name in datasets}
    setting = {
        "architectures": architectures,
        "space": space.to_dict(),
        "schedules": recipes,
        "augmentation": {name: data.info.augmentation for name, data in loaded.items()},
    }
    file = RowFile(json_path, setting, KEY)
    work = [
        job
        for name, data in loaded.items()
        for job in jobs(space, data, SCHEDULES[name], architectures)
    ]
    measure(work, file, data_dir, workers, shown("trainings"))
    summaries = summarise(file)
    file.write({"summary": summaries})
    console = Console(width=None if Console().is_terminal else 130)
    console.print(table(summaries))
    console.print(
        "In brackets 95 % bootstrap intervals over architectures. Partial: log multiply-adds "
        "regressed out of both. Two seeds: those of the long schedule, likewise."
    )
    if json_path is not None:
        console.print(f"written: {json_path}")


def table(summaries: Sequence[dict[str, Any]]) -> Table:
    """A row for each short schedule."""
    grid = Table(title="Short schedules against the long one")
    for column in ("data", "schedule", "Spearman", "partial", "two seeds", "ratio", "x cheaper"):
        grid.add_column(column, justify="left" if column in ("data", "schedule") else "right")
    for row in summaries:
        grid.add_row(
            row["dataset"],
            row["schedule"],
            *(_with_interval(row, name) for name in ("spearman", "partial", "seeds_partial")),
            _with_interval(row, "ratio"),
            f"{row['cost_ratio']:.1f}",
        )
    return grid


def _with_interval(row: dict[str, Any], name: str) -> str:
    value, interval = row[name], row[f"{name}_interval"]
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" ({interval[0]:.2f}-{interval[1]:.2f})" if interval else "")
