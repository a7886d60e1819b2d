"""Final accuracy, forecast from what a trial shows at a rung by the trials that finished.

In terms of g = -log(error), with rung r, last epoch E and costs c, the gain of the
finished trials j is a ridge regression

    g_jE - g_jr = b0 + b1 g_jr + b2 g_jr^2 + b3 log c_j + e_j,    e_j ~ N(0, s^2),

so without evidence to the contrary every trial lowers its error by the same factor. The square
is there because errors that are small at the rung have less far to fall; it ends where the
finished trials do. Which trials finished depends on what the regression knows (accuracy at a
rung, cost), so that stopping the others does not bias it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SLOPE_PENALTY = 1.0  # ridge on standardised features: one trial's worth of "no slope"


class Forecast(NamedTuple):
    """Final goodness of trials: of each a Student-t distribution."""

    mean: Array  # [trials]
    residual: float  # s^2, how much finished trials differ from the regression
    leverage: Array  # [trials], times s^2: how uncertain the regression is there
    degrees: float  # of freedom, 1 or more


def forecast(features: Array, ends: Array, at: Array) -> Forecast:
    """Forecast trials that were evaluated at the same rung.

    Args:
        features: [finished, 1 + costs], goodness at the rung, then log costs.
        ends: [finished], final goodness.
        at: [trials, 1 + costs], their features.
    """
    gains = ends - features[:, 0]
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    scaled, wanted = (features - centre) / spread, (at - centre) / spread
    seen = float(scaled[:, 0].min()), float(scaled[:, 0].max())
    design, points = _design(scaled, seen), _design(wanted, seen)
    gram = design.T @ design
    penalty = np.diag([0.0] + [SLOPE_PENALTY] * (design.shape[1] - 1))
    inverse = np.linalg.inv(gram + penalty)
    weights = inverse @ design.T @ gains
    residuals = gains - design @ weights
    degrees = max(1.0, len(gains) - float(np.trace(inverse @ gram)))
    return Forecast(
        at[:, 0] + points @ weights,
        float(residuals @ residuals) / degrees,
        np.einsum("ti,ij,tj->t", points, inverse, points),
        degrees,
    )


def _design(scaled: Array, seen: tuple[float, float]) -> Array:
    """Rows of the regression, of standardised features: one, the features, goodness squared.

    Beyond the goodness that finished trials have, from the least to the largest `seen`, the
    square says nothing and stays as it is there.
    """
    square = np.clip(scaled[:, 0], *seen) ** 2
    return np.column_stack([np.ones(len(scaled)), scaled, square])
