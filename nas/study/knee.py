"""The knee of a front: the member at the end of the last steep step.

Past the knee, accuracy costs more than it does on average over the front. With x the logarithm of
the cost and y the estimated accuracy, both scaled to [0, 1] over the members that no other one
dominates by (cost, estimate), a step of their upper concave hull is steep where its slope is at
least 1, the mean slope of the whole front. The slopes of a concave hull fall from step to step, so
the end of the last steep step is the member of the largest y - x, of equal ones the most accurate
(Satopaa, Albrecht, Irwin and Raghavan, "Finding a 'kneedle' in a haystack", ICDCSW 2011).

A front of fewer than `MIN_MEMBERS` has no knee: each step decides, and every member is an end or
next to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.pareto import non_dominated

MIN_MEMBERS = 5


def knee_index(costs: Sequence[float], accuracies: Sequence[float]) -> int | None:
    """The position of the knee; None for fewer than `MIN_MEMBERS` members.

    Args:
        costs: [N], of the cost that figures are drawn over; positive.
        accuracies: [N], estimates.
    """
    if len(costs) < MIN_MEMBERS:
        return None
    x, y = np.log(np.asarray(costs, dtype=float)), np.asarray(accuracies, dtype=float)
    curve = np.flatnonzero(non_dominated(np.column_stack([x, -y])))
    x, y = x[curve], y[curve]
    heights = _scaled(y) - _scaled(x)
    highest = np.flatnonzero(heights >= heights.max() - 1e-9)  # the same in exact arithmetic
    return int(curve[max(highest, key=lambda i: y[i])])


def _scaled(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1; zeros where all are equal."""
    span = np.ptp(values)
    scaled: np.ndarray = (values - values.min()) / (span if span > 0 else 1.0)
    return scaled
