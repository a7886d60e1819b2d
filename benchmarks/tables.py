"""Tables of training results: every architecture of a complete space, with its accuracies.

The format is one CSV row for each architecture: `x1`, `x2`, ... are the choices
(words are categorical, integers ordinal), `accuracy_1`, `accuracy_2`, ... the test
accuracy of each training seed in per cent, `macs` and `params` the cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.pareto import hypervolume
from nas.space.space import Choice

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """One complete space with its measured accuracies and exact costs."""

    name: str
    choices: tuple[Choice, ...]
    codes: NDArray[np.int64]  # [N, choices], positions in `Choice.values`
    accuracy: Array  # [N, seeds], fractions in [0, 1]
    macs: Array  # [N], multiply-adds
    params: Array  # [N]

    @cached_property
    def error(self) -> Array:
        """[N], one minus the mean accuracy over the training seeds."""
        mean: Array = 1.0 - self.accuracy.mean(axis=1)
        return mean

    @cached_property
    def points(self) -> Array:
        """[N, 2], (log10 macs, mean error), from which the score is computed."""
        return np.column_stack([np.log10(self.macs), self.error])

    @cached_property
    def reference(self) -> tuple[float, float]:
        """The largest log10 macs and the 90th percentile of the error."""
        return float(self.points[:, 0].max()), float(np.percentile(self.error, 90))

    @cached_property
    def best(self) -> float:
        """Hypervolume of the true front."""
        return hypervolume(self.points, self.reference)

    @cached_property
    def _rows(self) -> dict[tuple[int, ...], int]:
        return {tuple(code): row for row, code in enumerate(self.codes.tolist())}

    def row(self, setting: Mapping[str, Any]) -> int:
        """The index of a setting's row."""
        code = tuple(choice.values.index(setting[choice.name]) for choice in self.choices)
        return self._rows[code]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all contents, part of the cache's key."""
        return fingerprint(self.codes, self.accuracy, self.macs, self.params)


def fingerprint(*contents: NDArray[Any]) -> str:
    """Hash of arrays, to nine decimals: the last bits of synthetic values differ by processor."""
    digest = hashlib.sha256()
    for array in contents:
        digest.update(np.round(array, 9).tobytes())
    return digest.hexdigest()[:12]


def read_table(path: Path) -> Table:
    """Read a table of the format above, whatever its number of choices and seeds.

    Raises:
        ValueError: one line that says what is wrong with the file and what is accepted.
    """
    try:
        frame = pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a CSV table"
        raise ValueError(f"table {path}: cannot be read ({reason})") from None
    return from_frame(frame, Path(path).stem)


def from_frame(frame: pd.DataFrame, name: str) -> Table:
    """The table in a data frame. Raises ValueError as `read_table` does."""
    choices, accuracies = _numbered(frame, "x"), _numbered(frame, "accuracy_")
    for column, columns in (("x1", choices), ("accuracy_1", accuracies)):
        if not columns:
            raise ValueError(f"table {name}: no column {column}; accepted: x1.., accuracy_1..")
    for column in (*accuracies, "macs", "params"):
        if column not in frame:
            raise ValueError(f"table {name}: no column {column!r}")
        if not pd.api.types.is_numeric_dtype(frame[column]) or not np.isfinite(frame[column]).all():
            raise ValueError(f"table {name}: column {column} is not numeric in every row")
    if not (frame["macs"] > 0).all():
        raise ValueError(f"table {name}: column macs; accepted: positive numbers")
    if frame.duplicated(choices).any():
        raise ValueError(f"table {name}: an architecture appears twice; accepted: once each")
    codes, parsed = [], []
    for column in choices:
        if pd.api.types.is_integer_dtype(frame[column]):
            values: list[Any] = sorted(int(value) for value in frame[column].unique())
        elif pd.api.types.is_numeric_dtype(frame[column]):
            raise ValueError(f"table {name}: column {column}; accepted: words or integers")
        else:
            values = [str(value) for value in frame[column].unique()]
        parsed.append(Choice(column, tuple(values)))
        position = {value: index for index, value in enumerate(values)}
        codes.append([position[value] for value in frame[column]])
    return Table(
        name,
        tuple(parsed),
        np.array(codes, dtype=np.int64).T.copy(),
        frame[accuracies].to_numpy(dtype=np.float64) / 100.0,
        frame["macs"].to_numpy(dtype=np.float64),
        frame["params"].to_numpy(dtype=np.float64),
    )


def _numbered(frame: pd.DataFrame, prefix: str) -> list[str]:
    """The columns `prefix`1, `prefix`2, ... up to the first gap."""
    names: list[str] = []
    while f"{prefix}{len(names) + 1}" in frame:
        names.append(f"{prefix}{len(names) + 1}")
    return names
