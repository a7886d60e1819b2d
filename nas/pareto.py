"""Pareto dominance and hypervolume of points whose objectives are all minimised.

The exact algorithms are moocore's; this module states what the program relies on.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGE = 1e300  # stands for infinity, which moocore's sweep over three objectives misplaces

Array = NDArray[np.float64]


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Which rows no other row dominates; of equal rows the first counts.

    Args:
        points: shape [N, M]; infinities are allowed.

    Returns:
        Shape [N].
    """
    rows = np.clip(_rows(points), -LARGE, LARGE)
    mask: NDArray[np.bool_] = moocore.is_nondominated(rows, keep_weakly=False)
    return np.asarray(mask, dtype=bool)  # moocore's answer for no rows is a list of floats


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume that the points dominate below `reference`.

    A row that is not below the reference in every objective adds nothing.

    Args:
        points: shape [N, M].
        reference: shape [M].
    """
    return float(moocore.hypervolume(_rows(points), ref=np.asarray(reference, dtype=np.float64)))


class HypervolumeTracker:
    """The hypervolume of a growing set of points.

    Only the front is kept, so each point costs as much as the front is large.

    Args:
        reference: shape [M].
    """

    def __init__(self, reference: ArrayLike) -> None:
        self._reference = np.asarray(reference, dtype=np.float64)
        self._front = np.empty((0, len(self._reference)))
        self.volume = 0.0  # of all points added so far

    def add(self, point: Sequence[float]) -> float:
        """The hypervolume after adding `point`, of M objectives."""
        if not (self._front <= point).all(axis=1).any():
            grown = np.vstack([self._front, point])
            self._front = grown[non_dominated(grown)]
            self.volume = hypervolume(self._front, self._reference)
        return self.volume


def _rows(points: ArrayLike) -> Array:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"points: shape {array.shape}; accepted: [points, objectives]")
    return array
