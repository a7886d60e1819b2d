"""Architectures as inputs of the kernel, alone and in pairs; symbols as in `anova_kernel.py`."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class SourceCovariance(Protocol):
    """The posterior covariance of a source, K_s of (3), with N architectures."""

    def part(self, rows: slice) -> SourceCovariance:
        """With some of the architectures."""

    def between(self, other: Any) -> Array:
        """Between these architectures and M others, [N, M]."""

    def variances(self) -> Array:
        """Of these architectures, [N]."""


class Points(NamedTuple):
    """N architectures as inputs of the kernel."""

    codes: NDArray[np.int64]  # [N, choices], see `Encoding`
    costs: Array  # [N, costs], standardised log costs
    predicted: Array | None = None  # [N, sources], m_s of (3); None without sources
    uncertain: tuple[SourceCovariance | None, ...] = ()  # K_s of (3) of each source; None: 0

    def part(self, rows: slice) -> Points:
        """Some of the points."""
        predicted = None if self.predicted is None else self.predicted[rows]
        uncertain = tuple(one and one.part(rows) for one in self.uncertain)
        return Points(self.codes[rows], self.costs[rows], predicted, uncertain)


class Pairs(NamedTuple):
    """Pairs of architectures as inputs of the kernel."""

    entries: NDArray[np.int64]  # [choices, pairs], positions in the flattened tables
    distance: Array  # [pairs], |t - t'|
    product: Array  # [pairs], t.t'
    shared: Array | None = None  # [sources, pairs], 1 + m_s m_s' + K_s of (3)
    level: Array | None = None  # [pairs], (u + u') / 2 of (3); None where d is 1

    def part(self, rows: slice | NDArray[np.int64]) -> Pairs:
        """Some of the pairs."""
        entries = np.ascontiguousarray(self.entries[:, rows])
        shared = None if self.shared is None else np.ascontiguousarray(self.shared[:, rows])
        level = None if self.level is None else self.level[rows]
        return Pairs(entries, self.distance[rows], self.product[rows], shared, level)

    def workspace(self) -> Array:
        """Memory for v_i and three sums of them; reused, because allocating it is slow."""
        return np.empty((4 * len(self.entries), len(self.distance)))
