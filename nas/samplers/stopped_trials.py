"""What a trial that was stopped early (PRUNED) teaches the sampler: a forecast of its final error.

`ErrorModel` calls it before each fit and adds the forecasts to the errors of finished trials, with
their variances. Logarithms are to base 10 for costs and natural for errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.stopping.forecast import forecast

Array = NDArray[np.float64]

MIN_REACHED = 8  # finished trials that were evaluated at an epoch, for a forecast from there
MIN_VARIANCE = 1e-6  # added to the variance of a forecast


class CurvesWithCosts(NamedTuple):
    """The learning curves of N trials."""

    costs: Array  # [N, costs], logarithms
    curves: Sequence[Mapping[int, float]]  # of each trial: epoch -> accuracy

    def features(self, rows: Sequence[int], epoch: int, min_error: float) -> Array:
        """[rows, 1 + costs]: the negative log error at an epoch, and log costs."""
        errors = [1.0 - self.curves[row][epoch] for row in rows]
        return np.column_stack([-np.log(np.maximum(errors, min_error)), self.costs[list(rows)]])


def smallest_error(images: int | None, errors: Array) -> float:
    """The error that smaller ones are raised to before a logarithm is taken.

    Args:
        images: number of validation images; None: not known.
        errors: measured.
    """
    return 0.5 / (images + 1) if images else max(1e-4, float(errors.min()) / 4)


def forecast_final_errors(
    stopped: CurvesWithCosts,
    finished: CurvesWithCosts,
    errors: Array,
    *,
    min_error: float,
    min_forecast: float,
) -> tuple[NDArray[np.int64], Array, Array]:
    """Forecast the final errors of stopped trials from those of finished ones.

    The forecast starts at the last epoch of a stopped trial at which at least `MIN_REACHED`
    finished trials were evaluated too. A trial without such an epoch is left out.

    Args:
        stopped: trials that were stopped early.
        finished: trials that finished.
        errors: [finished], their final errors.
        min_error: errors below it are raised to it before the logarithm is taken.
        min_forecast: lower bound of the forecast errors.

    Returns:
        The rows of `stopped` that have a forecast, ascending; the forecast log errors; their
        variances.
    """
    final = -np.log(np.maximum(errors, min_error))
    epochs = {epoch for curve in finished.curves for epoch in curve}
    reached = {e: [row for row, c in enumerate(finished.curves) if e in c] for e in epochs}
    usable = {epoch for epoch, rows in reached.items() if len(rows) >= MIN_REACHED}
    last = [max(usable.intersection(curve), default=None) for curve in stopped.curves]
    mean, variance = np.full(len(last), np.nan), np.full(len(last), np.nan)
    for epoch in usable.intersection(last):
        rows = [row for row, last_epoch in enumerate(last) if last_epoch == epoch]
        at_epoch = finished.features(reached[epoch], epoch, min_error)
        targets = stopped.features(rows, epoch, min_error)
        predicted = forecast(at_epoch, final[reached[epoch]], targets)
        mean[rows] = np.clip(-predicted.mean, np.log(min_forecast), 0.0)
        variance[rows] = predicted.residual_variance * (1.0 + predicted.leverage) + MIN_VARIANCE
    known = np.flatnonzero(np.isfinite(mean))
    return known, mean[known], variance[known]
