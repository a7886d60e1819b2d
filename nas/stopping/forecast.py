r"""Forecast of a trial's final accuracy from its accuracy at a rung.

Accuracies are compared as negative log errors g = -log(error). For rung r, last epoch E, costs c
and the mean training loss l of the rung's epoch, the gain of the finished trials j is a linear
regression

    y_j = g_jE - g_jr
        = b_0 + b_1 g_jr + b_2 log c_j + b_3 log l_j + b_4 g_jr^2 + e_j,  e_j ~ N(0, s^2)    (1)

on standardised features X; without losses the term of b_3 is left out. Losses have no evaluation
noise: at equal cost they rank networks better than early accuracies do (Ru et al., "Speedy
performance estimation for neural architecture search", arXiv 2006.04492). All coefficients but b_0
have a ridge penalty (P = diag(0, 1, ..., 1)), so that few trials give a constant gain: every trial
lowers its error by the same factor.

    b = (X'X + P)^-1 X'y                                                                     (2)
    s^2 = |y - X b|^2 / v,    v = max(1, N - tr((X'X + P)^-1 X'X))                           (3)

The forecast for a trial with features x is a Student-t distribution of v degrees of freedom,

    mean = g_r + x'b,    scale^2 = s^2 (1 + h),    h = x'(X'X + P)^-1 x                      (4)

with the leverage h of the trial. The square is there because errors that are small at the rung
have less far to fall. It is constant outside the range of the finished trials, which say nothing
about it there.

The rule stops trials by what the regression conditions on (accuracy at a rung, cost and loss), so
the selection of the trials that finish does not bias it.

Ridge regression: Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal
problems", Technometrics 12(1), 1970.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SLOPE_PENALTY = 1.0  # of standardised features: as much as one trial that shows no slope


class Forecast(NamedTuple):
    """Student-t distributions of final negative log errors; see equation (4)."""

    mean: Array  # [trials]
    residual_variance: float  # s^2
    leverage: Array  # [trials], h
    degrees: float  # of freedom, v


def forecast(finished: Array, final: Array, trials: Array) -> Forecast:
    """Forecast the final negative log errors of trials that have reached a rung.

    Args:
        finished: [finished, features] of finished trials: the negative log error at the rung,
            then log costs, then the log loss if it is known.
        final: [finished], their final negative log errors.
        trials: [trials, features] of the trials to forecast.
    """
    gains = final - finished[:, 0]
    centre, spread = finished.mean(axis=0), finished.std(axis=0) + 1e-9
    scaled, scaled_trials = (finished - centre) / spread, (trials - centre) / spread
    observed = float(scaled[:, 0].min()), float(scaled[:, 0].max())
    design, rows = _design(scaled, observed), _design(scaled_trials, observed)
    gram = design.T @ design
    penalty = np.diag([0.0] + [SLOPE_PENALTY] * (design.shape[1] - 1))
    inverse = np.linalg.inv(gram + penalty)
    weights = inverse @ design.T @ gains  # (2)
    residuals = gains - design @ weights
    degrees = max(1.0, len(gains) - float(np.trace(inverse @ gram)))  # (3)
    return Forecast(  # (4)
        trials[:, 0] + rows @ weights,
        float(residuals @ residuals) / degrees,
        np.einsum("ti,ij,tj->t", rows, inverse, rows),
        degrees,
    )


def _design(scaled: Array, observed: tuple[float, float]) -> Array:
    """Rows of X in equation (1): one, the standardised features, the square of the first.

    The square is constant outside `observed`, the range of the finished trials.
    """
    square = np.clip(scaled[:, 0], *observed) ** 2
    return np.column_stack([np.ones(len(scaled)), scaled, square])
