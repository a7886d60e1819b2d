"""Markdown tables of figures in results/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "docs" / "tables"
BENCHMARKS = ROOT / "results" / "benchmarks"
REFERENCE = ROOT / "results" / "reference-fashion-mnist"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are aligned to the right."""
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read(path: Path) -> Any:
    """The contents of a JSON file."""
    return json.loads(path.read_text())


def spread(values: Sequence[float], digits: int) -> str:
    """Median (least to most)."""
    middle, low, high = (f"{f(values):.{digits}f}" for f in (median, min, max))
    return f"{middle} ({low} to {high})"


def interval(row: dict[str, Any], name: str) -> str:
    """A correlation of a row with its bootstrap interval, where it is defined."""
    if row[name] is None:
        return "–"
    bounds = row[f"{name}_interval"]
    text = f"{row[name]:.2f}"
    return f"{text} ({bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else text
