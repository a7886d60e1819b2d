"""The rows of a long measurement, saved as they finish, so that it can be continued; tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nas.files import write_json


class RowFile:
    """A JSON file of `setting` and `rows`; without a path the rows are kept in memory alone.

    Args:
        path: an existing file is continued, and is not changed until a row is added.
        setting: plain values that all rows share.
        key: the fields that identify a row.

    Raises:
        ValueError: the file is no such file, or holds rows of another setting.
    """

    def __init__(self, path: Path | None, setting: dict[str, Any], key: tuple[str, ...]) -> None:
        self._path, self._setting, self._key = path, setting, key
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        try:
            data = json.loads(path.read_text())
            recorded, rows = data["setting"], data["rows"]
            self._rows = {tuple(row[name] for name in key): row for row in rows}
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(
                f"--json: {path} does not hold rows of this measurement; accepted: a new file, "
                "or one of an earlier run to continue"
            ) from None
        asked = json.loads(json.dumps(setting))
        differs = [n for n in {**recorded, **asked} if recorded.get(n) != asked.get(n)]
        if differs:
            raise ValueError(
                f"--json: {path} was started with another {differs[0]}; accepted: a new file, or "
                "the same arguments to continue"
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows.values())

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        return key in self._rows

    def add(self, row: dict[str, Any]) -> None:
        """Add a row and write the file, atomically."""
        self._rows[tuple(row[name] for name in self._key)] = row
        self.write({})

    def write(self, summary: dict[str, Any]) -> None:
        """Write the rows with their `summary` beside them."""
        if self._path is not None:
            rows = list(self._rows.values())
            write_json(self._path, {"setting": self._setting, "rows": rows, **summary})


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a heading and lines; all columns but the first are numbers."""
    heading, *lines = rows
    grid = Table()
    for number, column in enumerate(heading):
        grid.add_column(column, justify="right" if number else "left")
    for line in lines:
        grid.add_row(*line)
    Console(width=None if Console().is_terminal else 150).print(grid)
