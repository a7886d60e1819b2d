"""What trials that were stopped early say about the accuracy they would have reached."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.search.forecast import forecast

Array = NDArray[np.float64]

ENOUGH = 5  # finished trials with the same epoch; fewer teach nothing
LEAST_VARIANCE = 1e-6  # of a forecast


class Shown(NamedTuple):
    """What a trial has shown."""

    costs: Array  # [costs], logarithms
    curve: Mapping[int, float]  # epoch -> accuracy


def final_errors(
    stopped: Sequence[Shown], finished: Sequence[tuple[Shown, float]], floor: float
) -> tuple[NDArray[np.int64], Array, Array]:
    """Log of the final errors that stopped trials point to, and the variances of that.

    Of each trial the last epoch counts that enough finished ones have too.

    Args:
        stopped: the trials.
        finished: other trials, with their final errors.
        floor: errors below it count as this much.

    Returns:
        The rows of `stopped` that could be forecast, in order, the logarithms, the variances.
    """
    reached: dict[int, list[tuple[Shown, float]]] = defaultdict(list)
    for shown, final in finished:
        for epoch in shown.curve:
            reached[epoch].append((shown, final))
    rows: dict[int, list[int]] = defaultdict(list)
    for row, trial in enumerate(stopped):
        known = [epoch for epoch in trial.curve if len(reached[epoch]) >= ENOUGH]
        if known:
            rows[max(known)].append(row)
    mean, variance = np.full(len(stopped), np.nan), np.full(len(stopped), np.nan)
    for epoch, of_epoch in rows.items():
        features = _features([shown for shown, _ in reached[epoch]], epoch, floor)
        ends = -np.log(np.maximum([final for _, final in reached[epoch]], floor))
        found = forecast(features, ends, _features([stopped[i] for i in of_epoch], epoch, floor))
        mean[of_epoch] = -found.mean
        variance[of_epoch] = found.residual * (1.0 + found.leverage) + LEAST_VARIANCE
    known_rows = np.flatnonzero(np.isfinite(mean))
    return known_rows, mean[known_rows], variance[known_rows]


def _features(trials: Sequence[Shown], epoch: int, floor: float) -> Array:
    """[trials, 1 + costs], -log of the error at an epoch, and log costs."""
    early = [1.0 - trial.curve[epoch] for trial in trials]
    return np.column_stack([-np.log(np.maximum(early, floor)), [trial.costs for trial in trials]])
