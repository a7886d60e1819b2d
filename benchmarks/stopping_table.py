"""Prints the stopping benchmark and writes its figures.

Run as `python runners/benchmark.py stopping --generated 30 --json FILE`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.curves import generate_curves, read_curves
from benchmarks.stopping import Row, compare
from benchmarks.stopping_rules import ONE_EPOCH
from nas.progress import shown
from nas.stopping.rule import StoppingSettings

GENERATED_ORDERS = 2  # of each generated table
TITLES = {
    "front": "this project's rule (strength: confidence)",
    "halving": "successive halving on accuracy (strength: share kept)",
    "sorting": "non-dominated sorting, MO-ASHA (strength: share kept)",
    ONE_EPOCH: "all networks for one epoch, then the best of all to the end (strength: share kept)",
}


def run_stopping(
    curves: Path | None,
    generated: int = 0,
    orders: int = 20,
    in_flight: Sequence[int] = (1, 8),
    evaluated: Sequence[int] | None = None,
    json_file: Path | None = None,
) -> list[Row]:
    """Replay the rules on a table of learning curves, or on synthetic ones; print the results.

    Args:
        curves: a table as `benchmarks.curves` reads it.
        generated: number of synthetic tables to take instead.
        orders: random orders of the trials of `curves`.
        in_flight: numbers of trials at a time.
        evaluated: the rungs; None: those of a search.
        json_file: where to write the rows.

    Raises:
        ValueError: the table cannot be read, or not exactly one of both is given.
    """
    if (curves is None) == (generated < 1):
        raise ValueError("--curves FILE or --generated N: accepted: one of the two")
    if curves is not None:
        tables, name = [read_curves(curves)], str(curves)
    else:
        tables = [generate_curves(seed) for seed in range(generated)]
        orders, name = GENERATED_ORDERS, f"{generated} generated tables"
    if evaluated and any(evaluated[-1] != table.epochs for table in tables):
        raise ValueError(f"--rungs: {evaluated[-1]} is not the last epoch, where they have to end")
    rows = compare(
        tables, orders=orders, in_flight=in_flight, evaluated=evaluated, progress=shown("replays")
    )
    print_rows(rows, f"{name}, median of {orders * len(tables)} replays")
    if json_file is not None:
        data = {"table": name, "orders": orders, "rows": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(data, indent=2) + "\n")
    return rows


def parse_rungs(text: str | None) -> tuple[int, ...] | None:
    """Comma-separated ascending epochs.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    parts = text.split(",")
    if all(part.isdecimal() for part in parts):
        epochs = tuple(int(part) for part in parts)
        if epochs[0] > 0 and all(a < b for a, b in itertools.pairwise(epochs)):
            return epochs
    raise ValueError(f"--rungs {text}: accepted: ascending epochs such as 1,3,10")


def print_rows(rows: list[Row], title: str) -> None:
    """Print a table for each number of trials at a time."""
    console = Console()
    for flying in sorted({row.in_flight for row in rows}):
        table = Table(
            title=f"{title}, {flying} in flight", title_style="", box=None, padding=(0, 1, 0, 0)
        )
        for heading in ("rule", "strength", "volume", "quartiles", "least", "epochs"):
            table.add_column(heading, justify="left" if heading == "rule" else "right")
        for heading in ("x macs", "done", "halving", "sorting", ONE_EPOCH):
            table.add_column(heading, justify="right")
        for row in (row for row in rows if row.in_flight == flying):
            default = row.rule == "front" and row.strength == StoppingSettings.confidence
            table.add_row(
                row.rule,
                f"{row.strength:g}",
                f"{row.hypervolume:.4f}",
                f"{row.q25:.3f}-{row.q75:.3f}",
                f"{row.least:.3f}",
                *(f"{value:.3f}" for value in (row.epochs, row.multiply_adds, row.finished)),
                *(
                    "-" if value is None else f"{value:.4f}"
                    for value in (row.halving, row.sorting, row.one_epoch)
                ),
                style="bold" if default else "",
            )
        console.print(table)
    console.print(
        "volume, epochs, x macs: hypervolume, epochs, epochs x multiply-adds, as shares of no "
        "stopping. done: share that finished. halving, sorting, one epoch: their volume at equal "
        "epochs."
    )
    for rule, text in TITLES.items():
        console.print(f"{rule}: {text}")
