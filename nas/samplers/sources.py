"""Sources: earlier studies that inform the known-cost sampler, and what describes an architecture.

Two studies may have other parameters, but the same kinds of architecture. A source therefore gives
a description of each of its architectures (`Description`), and the sampler a function that
describes a setting of its own space in the same terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.format import format_number
from nas.space.space import Choice, Value

Description = Mapping[str, Value]
"""What an architecture is, by name of the feature; one that it does not have is absent."""


@dataclass(frozen=True)
class Source:
    """The results of an earlier study, of N architectures.

    Raises:
        ValueError: a list is empty or of another length, an error or a cost is not finite, or a
            variance is below 0, or above it for all architectures.
    """

    name: str
    descriptions: Sequence[Description]  # [N]
    errors: Sequence[float]  # [N], such as one minus the accuracy, measured or forecast
    costs: Sequence[tuple[float, ...]]  # [N], of the same architectures in the new study
    images: int | None = None  # of its validation split; None: errors are exact
    settings: Sequence[Mapping[str, Any] | None] | None = None
    """[N], of the new study's space, None for an architecture outside of it. Where this is None
    the descriptions are the settings."""
    log_variances: Sequence[float] | None = None
    """[N], of the forecast of the logarithm of an error, for a trial that was stopped early; 0 for
    a measured one. None: all are measured."""

    def __post_init__(self) -> None:
        lengths = len(self.descriptions), len(self.errors), len(self.costs)
        if not 0 < lengths[0] == lengths[1] == lengths[2]:
            raise ValueError(
                f"source {self.name}: {format_number(lengths[0], 'description')}, "
                f"{format_number(lengths[1], 'error')}, {format_number(lengths[2], 'cost')}; "
                "accepted: as many of each, at least one"
            )
        if self.settings is not None and len(self.settings) != lengths[0]:
            raise ValueError(
                f"source {self.name}: {len(self.settings)} settings of {lengths[0]} architectures; "
                "accepted: one of each, or None in its place"
            )
        if not np.isfinite(np.asarray(self.errors, dtype=np.float64)).all():
            raise ValueError(
                f"source {self.name}: an error is not finite; accepted: finite numbers"
            )
        costs = np.asarray(self.costs, dtype=np.float64)
        if costs.ndim != 2 or not (np.isfinite(costs) & (costs > 0)).all():
            raise ValueError(f"source {self.name}: costs; accepted: a tuple of numbers over 0 each")
        variances = np.asarray(self.log_variances or [0.0] * lengths[0], dtype=np.float64)
        if len(variances) != lengths[0] or not (np.isfinite(variances) & (variances >= 0)).all():
            raise ValueError(
                f"source {self.name}: log_variances; accepted: a number, 0 or more, for each error"
            )
        if variances.all():
            raise ValueError(
                f"source {self.name}: all errors are forecasts; accepted: at least one measured"
            )


class DescriptionEncoding:
    """Descriptions encoded as integers: the position of each feature's value.

    The values of a feature are those that occur; a number that does not occur is taken for the
    nearest one that does, and an absent or unknown value is at position `len(values)`.
    A feature that has the same value everywhere is left out.

    Args:
        descriptions: from which the features and their values are taken.
    """

    def __init__(self, descriptions: Iterable[Description]) -> None:
        rows = list(descriptions)
        values: dict[str, dict[Value, int]] = {}
        for row in rows:
            for name, value in row.items():
                counts = values.setdefault(name, {})
                counts[value] = counts.get(value, 0) + 1
        choices = []
        for name, counts in values.items():
            sometimes = sum(counts.values()) < len(rows)
            if len(counts) > 1 or sometimes:
                words = any(isinstance(value, str) for value in counts)
                ordered = sorted(counts, key=str if words else float)
                # The base kernels ask only whether a choice has a condition, not which one.
                needs = (name, ordered[0]) if sometimes else None
                choices.append(Choice(name, tuple(ordered), needs))
        self.choices = tuple(choices)
        self._positions = [{v: i for i, v in enumerate(choice.values)} for choice in choices]

    def array(self, descriptions: Sequence[Description]) -> NDArray[np.int64]:
        """[N, features], the codes of N descriptions."""
        columns = [
            [self._position(index, row.get(choice.name)) for row in descriptions]
            for index, choice in enumerate(self.choices)
        ]
        return np.array(columns, dtype=np.int64).reshape(len(columns), len(descriptions)).T.copy()

    def _position(self, index: int, value: Value | None) -> int:
        positions, choice = self._positions[index], self.choices[index]
        position = positions.get(value) if value is not None else None
        if position is not None:
            return position
        if value is None or isinstance(value, str) or not choice.ordinal:
            return len(choice.values)
        distances = [abs(float(known) - float(value)) for known in choice.values]
        return int(np.argmin(distances))
