"""What trials that were stopped early say about the accuracy they would have reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.stopping.forecast import forecast

Array = NDArray[np.float64]

ENOUGH = 8  # finished trials with the same epoch; fewer teach nothing
LEAST_VARIANCE = 1e-6  # of a forecast


class Trials(NamedTuple):
    """What N trials have shown."""

    costs: Array  # [N, costs], logarithms
    curves: Sequence[Mapping[int, float]]  # of each: epoch -> accuracy

    def features(self, rows: Sequence[int], epoch: int, floor: float) -> Array:
        """[rows, 1 + costs], -log of the error at an epoch, and log costs."""
        early = [1.0 - self.curves[row][epoch] for row in rows]
        return np.column_stack([-np.log(np.maximum(early, floor)), self.costs[list(rows)]])


def final_errors(
    stopped: Trials, finished: Trials, errors: Array, *, floor: float, least: float
) -> tuple[NDArray[np.int64], Array, Array]:
    """Log of the final errors that stopped trials point to, and the variances of that.

    Of each trial the last epoch counts that enough finished ones have too.

    Args:
        stopped: the trials.
        finished: other trials.
        errors: [finished], their final errors.
        floor: errors below it count as this much.
        least: no stopped trial points to less.

    Returns:
        The rows of `stopped` that could be forecast, in order, the logarithms, the variances.
    """
    ends = -np.log(np.maximum(errors, floor))
    every = {epoch for curve in finished.curves for epoch in curve}
    reached = {e: [row for row, c in enumerate(finished.curves) if e in c] for e in every}
    enough = {epoch for epoch, rows in reached.items() if len(rows) >= ENOUGH}
    last = [max(enough.intersection(curve), default=None) for curve in stopped.curves]
    mean, variance = np.full(len(last), np.nan), np.full(len(last), np.nan)
    for epoch in enough.intersection(last):
        at = [row for row, of_row in enumerate(last) if of_row == epoch]
        known = finished.features(reached[epoch], epoch, floor)
        found = forecast(known, ends[reached[epoch]], stopped.features(at, epoch, floor))
        mean[at] = np.clip(-found.mean, np.log(least), 0.0)
        variance[at] = found.residual * (1.0 + found.leverage) + LEAST_VARIANCE
    rows = np.flatnonzero(np.isfinite(mean))
    return rows, mean[rows], variance[rows]
