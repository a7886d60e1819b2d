r"""Exact expected hypervolume improvement where only one objective is random.

All objectives are minimised. The costs c of a candidate are known before it is trained, its error
Y is not. A box decomposition cuts the space of costs into boxes [low, high); over each box the
front has one height h, the lowest error among the points that cost no more (the error of the
reference point where there is none). In each box the candidate improves the part that costs at
least c, by the amount that Y lies below h:

    EHVI(c) = \sum_boxes \prod_m (high_m - max(low_m, c_m))^+  E[(h - Y)^+]                 (1)

With one cost the boxes are the steps of a staircase. For log(Y - a) ~ N(m, s^2), where a is a
floor below every possible error, each expectation has a closed form:

    E[(h - Y)^+] = (h - a) Phi(z) - exp(m + s^2 / 2) Phi(z - s),  z = (log(h - a) - m) / s  (2)

with the standard normal distribution function Phi. So EHVI is exact for any number of costs.

References: Emmerich, Deutz and Klinkenberg, "Hypervolume-based expected improvement: Monotonicity
properties and exact computation", IEEE Congress on Evolutionary Computation, 2011; Yang, Emmerich,
Deutz and Bäck, "Efficient computation of expected hypervolume improvement using box decomposition
algorithms", Journal of Global Optimization 75, 2019, arXiv 1904.12672. Equation (1) is theirs with
a certain value of every objective but one; (2) is their one-dimensional integral for a log-normal
instead of a normal distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from nas.pareto import non_dominated

Array = NDArray[np.float64]

BLOCK = 1_000_000  # boxes times candidates evaluated at once, to bound the memory


@dataclass(frozen=True)
class Boxes:
    """The space of costs below a reference point, cut where the height of the front changes."""

    low: Array  # [B, M] lower corners; -inf at the edge
    high: Array  # [B, M] upper corners; the reference point at the edge
    height: Array  # [B] error of the front over each box, at most that of the reference point


def box_decomposition(costs: ArrayLike, errors: ArrayLike, reference: ArrayLike) -> Boxes:
    """Decompose the space of costs into boxes over which the front has one height.

    Args:
        costs: [N, M] known costs of the points; dominated points are allowed.
        errors: [N].
        reference: [M + 1], costs, then error; points beyond it are ignored.
    """
    corner = np.asarray(reference, dtype=np.float64)
    points = np.column_stack([np.asarray(costs, dtype=np.float64), errors])
    points = points[(points < corner).all(axis=1)]
    points = points[non_dominated(points)] if len(points) else points
    low, high = np.full((1, len(corner) - 1), -np.inf), corner[None, :-1]
    height = corner[-1:]
    # By falling errors: each point takes the whole orthant that costs at least as much as it.
    for point in points[np.argsort(-points[:, -1], kind="stable")]:
        cost = point[:-1]
        inside = (high > cost).all(axis=1)
        parts = [(low[~inside], high[~inside], height[~inside])]
        low, high, height = low[inside], high[inside], height[inside]
        for m in range(len(cost)):  # what lies below the point in cost m, and above in those before
            below = low[:, m] < cost[m]
            top = high[below]
            top[:, m] = cost[m]
            parts.append((low[below], top, height[below]))
            low = low.copy()
            low[:, m] = np.maximum(low[:, m], cost[m])
        parts.append((cost[None], corner[None, :-1], point[-1:]))
        low, high, height = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Boxes(low, high, height)


def expected_improvement(
    boxes: Boxes, costs: ArrayLike, mean: ArrayLike, deviation: ArrayLike, *, floor: float = 0.0
) -> Array:
    """Expected hypervolume improvement (1) of each of N candidates alone, [N].

    Args:
        boxes: of the front.
        costs: [N, M], in the units of the boxes.
        mean: [N], m of (2), of log(error - floor).
        deviation: [N], s of (2).
        floor: a of (2).
    """
    c = np.asarray(costs, dtype=np.float64)
    m = np.asarray(mean, dtype=np.float64)
    s = np.maximum(np.asarray(deviation, dtype=np.float64), 1e-9)
    size = max(1, BLOCK // max(1, len(boxes.height)))
    blocks = [slice(start, start + size) for start in range(0, len(m), size)]
    gains = [_expected_improvement(boxes, c[part], m[part], s[part], floor) for part in blocks]
    return np.concatenate(gains) if gains else np.zeros(0)


def _expected_improvement(boxes: Boxes, c: Array, m: Array, s: Array, floor: float) -> Array:
    volume = np.ones((len(boxes.height), len(m)))  # [B, N]
    for low, high, cost in zip(boxes.low.T, boxes.high.T, c.T, strict=True):
        volume *= np.maximum(high[:, None] - np.maximum(low[:, None], cost), 0.0)
    box, row = np.nonzero(volume)
    above = np.maximum(boxes.height - floor, 1e-300)
    z = (np.log(above)[box] - m[row]) / s[row]
    likely = z > -8.0  # below, the improvement is under 1e-15 standard deviations
    box, row, z = box[likely], row[likely], z[likely]
    expected = np.exp(np.minimum(m + s * s / 2, 50.0))
    gain = above[box] * ndtr(z) - expected[row] * ndtr(z - s[row])  # (2)
    total = np.zeros(len(m))
    # (1)
    total += np.bincount(row, volume[box, row] * np.maximum(gain, 0.0), minlength=len(m))
    return total
