"""Fronts and hypervolumes of points whose objectives are all minimised.

Two objectives are our own exact code; more go to moocore, which is exact too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def _points(points: ArrayLike) -> Array:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"points: shape {array.shape}; accepted: [points, objectives]")
    return array


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Which rows no other row dominates; of equal rows the first counts.

    Args:
        points: shape [N, M], every objective minimised; infinities are allowed.
    """
    array = _points(points)
    keep = np.zeros(len(array), dtype=bool)
    order = np.lexsort((np.arange(len(array)), *array.T[::-1]))
    if array.shape[1] == 2:
        best = np.inf
        for index in order:
            # Sorted by the first objective: only an improvement of the second one can stand.
            if array[index, 1] < best or not keep.any():
                keep[index] = True
                best = array[index, 1]
        return keep
    front: list[int] = []
    for index in order:
        # In lexicographic order a row is dominated, or repeated, only by rows before it.
        if not any((array[other] <= array[index]).all() for other in front):
            front.append(int(index))
    keep[front] = True
    return keep


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume that the points dominate below `reference`; rows outside of it count nothing.

    Args:
        points: shape [N, M], every objective minimised.
        reference: shape [M].
    """
    array = _points(points)
    corner = np.asarray(reference, dtype=np.float64)
    array = array[(array < corner).all(axis=1)]
    if not len(array):
        return 0.0
    if array.shape[1] == 2:
        front = array[non_dominated(array)]
        front = front[np.argsort(front[:, 0])]
        widths = np.diff(np.append(front[:, 0], corner[0]))
        return float(widths @ (corner[1] - front[:, 1]))
    import moocore  # imports in a quarter of a second; two objectives do without it

    measure: Any = moocore.hypervolume
    return float(measure(array, ref=corner))


def normalised_hypervolume(points: ArrayLike, reference: ArrayLike, best: float) -> float:
    """Hypervolume as a fraction of `best`, the hypervolume of the true front."""
    if not best > 0:
        raise ValueError(f"best: {best}; accepted: a positive hypervolume")
    return hypervolume(points, reference) / best


class Staircase:
    """Hypervolume of a growing set in two objectives, one point at a time.

    Adding a point costs a sort of the front only, so a whole trajectory is cheap.
    """

    def __init__(self, reference: tuple[float, float]) -> None:
        self.reference = reference
        self.front = np.empty((0, 2))
        self.volume = 0.0

    def add(self, point: tuple[float, float]) -> float:
        """The hypervolume after adding `point`."""
        if not ((self.front <= point).all(axis=1)).any():
            grown = np.vstack([self.front, point])
            self.front = grown[non_dominated(grown)]
            self.volume = hypervolume(self.front, self.reference)
        return self.volume
