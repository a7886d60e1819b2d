"""What errors would be without the luck of few validation images.

An error e that n images show is a binomial share, so that its logarithm has a variance of
about (1 - e) / (e n): 437 images tell 2 % from 1.4 % as badly as 10 % from 8.6 %. Near the
dear end of a front all errors are small, and luck is most of what makes them differ. Log
errors are shrunk towards a trend over log cost, by the share of the variance about it that
luck explains (empirical Bayes), and no farther than luck is likely to have taken them
("limited translation", Efron and Morris, JASA 1972): what is far from the trend is so
itself. All trials of a study see the same images, so that luck which they share counts as
luck too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.stopping.neg_log_error import binomial_variance, neg_log_error

Array = NDArray[np.float64]

PENALTY = 1.0  # ridge on standardised features: one trial's worth of "no trend"
LEAST_OWN = 0.02  # variance of log error that is no luck, at least
FARTHEST = 2.0  # standard deviations of luck that an error is shrunk by, at most


class BinomialNoise:
    """The trend of finished trials, and the share of their differences from it that is luck.

    Args:
        costs: [N, costs], log10.
        errors: [N], measured.
        images: that they were measured on; None: nothing is luck.

    Raises:
        ValueError: an error is no share of images.
    """

    def __init__(self, costs: Array, errors: Array, images: int | None) -> None:
        self._images = images
        if images is None:
            return
        if errors.min() < 0 or errors.max() > 1:
            raise ValueError(
                f"images: errors are from {errors.min():g} to {errors.max():g}; "
                "accepted with a number of images: 0 to 1"
            )
        self._centre, self._spread = costs.mean(axis=0), costs.std(axis=0) + 1e-9
        design, measured = self._design(costs), neg_log_error(1.0 - errors, images)
        gram = design.T @ design
        inverse = np.linalg.inv(gram + np.diag([0.0] + [PENALTY] * (len(gram) - 1)))
        self._weights = inverse @ design.T @ measured
        trend = design @ self._weights
        degrees = max(1.0, len(measured) - float(np.trace(inverse @ gram)))
        variance = float(np.square(measured - trend).sum()) / degrees
        self._own = max(variance - float(binomial_variance(trend, images).mean()), LEAST_OWN)

    def without(self, costs: Array, errors: Array) -> tuple[Array, Array]:
        """Expected errors, and the variances of the logarithms of measured ones about these.

        Args:
            costs: [N, costs], log10.
            errors: [N], measured.

        Returns:
            [N] each; without `images` the errors themselves and zeros.
        """
        if self._images is None:
            return errors, np.zeros(len(errors))
        trend, measured = (
            self._design(costs) @ self._weights,
            neg_log_error(1.0 - errors, self._images),
        )
        of_luck = binomial_variance(trend, self._images)
        shrunk = (trend - measured) * of_luck / (of_luck + self._own)
        farthest = FARTHEST * np.sqrt(binomial_variance(measured, self._images))
        expected = measured + np.clip(shrunk, -farthest, farthest)
        return np.exp(-expected), binomial_variance(expected, self._images)

    def _design(self, costs: Array) -> Array:
        """Rows of the regression: one, standardised log costs, and their squares."""
        scaled = (costs - self._centre) / self._spread
        return np.column_stack([np.ones(len(scaled)), scaled, scaled * scaled])
