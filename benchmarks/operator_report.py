"""Prints the operator benchmark and writes its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.operator import Row, measure, report, start_times
from nas.files import write_json
from nas.progress import shown


def run_and_report(repetitions: int, json_path: Path | None) -> None:
    """Measure everything, print a table, write the JSON file.

    Args:
        repetitions: of each version on each shape.
        json_path: where to write the figures; None: nowhere.

    Raises:
        RuntimeError: the operators cannot be compiled here.
    """
    rows = measure(repetitions=repetitions, progress=shown("operators"))
    figures = report(rows, start_times())
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table(rows))
    for what, speedup in figures["speedup"].items():
        console.print(f"{what}: {speedup:.2f}x faster in the geometric mean")
    cold, warm = figures["start_seconds"].values()
    console.print(
        f"ready after {cold:.1f} s when compiled, {warm:.3f} s when loaded from the cache"
    )
    if json_path is not None:
        write_json(json_path, figures)
        console.print(f"written: {json_path}")


def table(rows: Sequence[Row]) -> Table:
    """Milliseconds of every version, and the compiled one against the best of the others."""
    grid = Table(title="Forward and backward, batch 128, one thread: ms, medians")
    versions = list(dict.fromkeys(name for row in rows for name in row.seconds))
    for column in ("", "channels", "side", "p", *versions, "faster", "memory"):
        grid.add_column(column, justify="left" if not column else "right")
    for row in rows:
        milliseconds = (row.seconds.get(name) for name in versions)
        grid.add_row(
            row.what,
            *(str(number) for number in (row.width, row.size, row.p)),
            *("" if value is None else f"{1e3 * value:.1f}" for value in milliseconds),
            f"{row.speedup():.2f}x",
            f"{row.memory:.2f}x",
        )
    return grid
