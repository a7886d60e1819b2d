"""Which trials of many tell most of the front, where a computation is cubic in their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.pareto import non_dominated

Array = NDArray[np.float64]


def near_front_and_random(
    costs: Array, errors: Array, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of `count` trials, ascending: half of them those nearest to the front, half random.

    Args:
        costs: [N, costs].
        errors: [N].
        count: all rows where there are no more.
        rng: draws the random ones.
    """
    if len(errors) <= count:
        return np.arange(len(errors))
    order = np.argsort(excess_errors(costs, errors), kind="stable")
    half = count // 2
    others = rng.choice(order[half:], count - half, replace=False)
    return np.sort(np.concatenate([order[:half], others]))


def excess_errors(costs: Array, errors: Array) -> Array:
    """By how much errors, [N], exceed the lowest one at no higher costs, [N, costs]."""
    points = np.column_stack([costs, errors])
    front = points[non_dominated(points)]
    lowest = [front[(front[:, :-1] <= cost).all(axis=1), -1].min() for cost in costs]
    return np.asarray(errors - lowest, dtype=np.float64)
