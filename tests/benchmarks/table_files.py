"""Tables as CSV files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.tables import Table


def write_table(table: Table, path: Path, scale: float = 1.0) -> None:
    """Write a table with one accuracy, times `scale`, for each architecture."""
    frame = pd.DataFrame(
        {
            choice.name: [choice.values[code] for code in table.codes[:, column]]
            for column, choice in enumerate(table.choices)
        }
    )
    frame["accuracy_1"] = 100 * (table.accuracy.mean(axis=1) * scale)
    frame["macs"], frame["params"] = table.macs.astype(int), table.params.astype(int)
    frame.to_csv(path, index=False)
