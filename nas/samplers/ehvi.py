r"""Expected hypervolume improvement where only one objective is random.

All objectives are minimised. A candidate's costs c are known before it is trained, its
error Y is not. The front cuts the space of costs into cells; over each cell the front
has one height h, the least error among the points that cost no more (the reference's
error where there is none). The candidate improves a cell by the part of it that costs
at least c, times what Y lies below h:

    E[improvement] = \sum_cells \prod_m (high_m - max(low_m, c_m))^+  E[(h - Y)^+]

With one cost the cells are the steps of a staircase. Each expectation is a
one-dimensional expected improvement in closed form. With log(Y - a) ~ N(m, s^2), where
a is below every error that is possible,

    E[(h - Y)^+] = (h - a) Phi(z) - exp(m + s^2 / 2) Phi(z - s),   z = (log(h - a) - m) / s

and with Y ~ N(m, s^2):  E[(h - Y)^+] = s (z Phi(z) + phi(z)),   z = (h - m) / s.

So the whole is exact, for two objectives and for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from nas.pareto import non_dominated

Array = NDArray[np.float64]
Scale = Literal["log", "linear"]

BLOCK = 1_000_000  # cells times candidates at once, so that memory is bounded


@dataclass(frozen=True)
class Boxes:
    """The space of costs below a reference, cut where the front's height changes."""

    low: Array  # [C, M] the cells' lower corners; -inf at the edge
    high: Array  # [C, M] their upper corners; the reference at the edge
    height: Array  # [C] the front's error over each cell, at most the reference's


def box_decomposition(costs: ArrayLike, errors: ArrayLike, reference: ArrayLike) -> Boxes:
    """Cells of a front.

    Args:
        costs: [N, M] known costs of the points; dominated points are allowed.
        errors: [N].
        reference: [M + 1], the costs' and then the error's; points beyond it count nothing.
    """
    corner = np.asarray(reference, dtype=np.float64)
    points = np.column_stack([np.asarray(costs, dtype=np.float64), errors])
    points = points[(points < corner).all(axis=1)]
    points = points[non_dominated(points)] if len(points) else points
    axes = [
        [-np.inf, *np.unique(points[:, m]).tolist(), float(corner[m])]
        for m in range(len(corner) - 1)
    ]
    low, high, height = [], [], []
    for intervals in product(*(list(pairwise(axis)) for axis in axes)):
        lower = np.array([interval[0] for interval in intervals])
        below = points[(points[:, :-1] <= lower).all(axis=1), -1]
        low.append(lower)
        high.append([interval[1] for interval in intervals])
        height.append(below.min() if len(below) else corner[-1])
    return Boxes(np.array(low), np.array(high), np.array(height))


def expected_improvement(
    cells: Boxes,
    costs: ArrayLike,
    mean: ArrayLike,
    deviation: ArrayLike,
    *,
    scale: Scale = "log",
    floor: float = 0.0,
) -> Array:
    """Expected hypervolume improvement of each candidate, alone.

    Args:
        cells: of the front.
        costs: [N, M], in the units of the cells.
        mean: [N], of log(error - floor), or of the error with scale "linear".
        deviation: [N], standard deviation of the same.
        scale: "log" for a log-normal error, "linear" for a normal one.
        floor: `a` above; only for scale "log".
    """
    c = np.asarray(costs, dtype=np.float64)
    m = np.asarray(mean, dtype=np.float64)
    s = np.maximum(np.asarray(deviation, dtype=np.float64), 1e-9)
    size = max(1, BLOCK // max(1, len(cells.height)))
    blocks = [slice(start, start + size) for start in range(0, len(m), size)]
    gains = [_of_block(cells, c[block], m[block], s[block], scale, floor) for block in blocks]
    return np.concatenate(gains) if gains else np.zeros(0)


def _of_block(cells: Boxes, c: Array, m: Array, s: Array, scale: Scale, floor: float) -> Array:
    """Of N candidates; what is computed on the way is [C, N], or of the parts that count."""
    volume = np.ones((len(cells.height), len(m)))
    for low, high, cost in zip(cells.low.T, cells.high.T, c.T, strict=True):
        volume *= np.maximum(high[:, None] - np.maximum(low[:, None], cost), 0.0)
    cell, row = np.nonzero(volume)
    if scale == "log":
        above = np.maximum(cells.height - floor, 1e-300)
        z = (np.log(above)[cell] - m[row]) / s[row]
        near = z > -8.0  # beyond, the improvement is below 1e-15 of a standard deviation
        cell, row, z = cell[near], row[near], z[near]
        expected = np.exp(np.minimum(m + s * s / 2, 50.0))
        gain = above[cell] * ndtr(z) - expected[row] * ndtr(z - s[row])
    else:
        z = (cells.height[cell] - m[row]) / s[row]
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        gain = s[row] * (z * ndtr(z) + density)
    total = np.zeros(len(m))
    total += np.bincount(row, volume[cell, row] * np.maximum(gain, 0.0), minlength=len(m))
    return total
