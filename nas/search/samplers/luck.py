"""What errors would be without the luck of few validation images.

An error e that n images show is a binomial share, so that its logarithm has the variance
(1 - e) / (e n): 437 images tell 2 % from 1.4 % as badly as 10 % from 8.6 %. Near the dear
end of a front all errors are small, and luck is most of what makes them differ. Of what a
trial's log error differs from a trend over log cost, only that share is believed that luck
does not explain on the average (empirical Bayes).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.search.goodness import goodness, luck

Array = NDArray[np.float64]

PENALTY = 1.0  # ridge on standardised features: one trial's worth of "no trend"
LEAST_OWN = 0.02  # variance of log error that is no luck, at least


class Luck:
    """The trend of finished trials, and the share of their differences from it that is luck.

    Args:
        costs: [N, costs], logarithms.
        errors: [N], measured, in [0, 1] if `images` is given.
        images: that they were measured on; None: nothing is luck.
    """

    def __init__(self, costs: Array, errors: Array, images: int | None) -> None:
        self._images = images
        self._centre, self._spread = costs.mean(axis=0), costs.std(axis=0) + 1e-9
        design, measured = self._design(costs), goodness(1.0 - errors, images)
        penalty = np.diag([0.0] + [PENALTY] * (design.shape[1] - 1))
        self._weights = np.linalg.solve(design.T @ design + penalty, design.T @ measured)
        trend = design @ self._weights
        own = float(((measured - trend) ** 2 - luck(trend, images)).mean())
        self._own = max(own, LEAST_OWN)

    def without(self, costs: Array, errors: Array) -> tuple[Array, Array]:
        """Expected errors, and the variances of the logarithms of measured ones about these.

        Args:
            costs: [N, costs], logarithms.
            errors: [N], measured.

        Returns:
            [N] each; without `images` the errors themselves and zeros.
        """
        if self._images is None:
            return errors, np.zeros(len(errors))
        trend = self._design(costs) @ self._weights
        believed = self._own / (self._own + luck(trend, self._images))
        expected = trend + believed * (goodness(1.0 - errors, self._images) - trend)
        return np.exp(-expected), luck(expected, self._images)

    def _design(self, costs: Array) -> Array:
        """Rows of the regression: one, standardised log costs, and their squares."""
        scaled = (costs - self._centre) / self._spread
        return np.column_stack([np.ones(len(scaled)), scaled, scaled * scaled])
