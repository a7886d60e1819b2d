r"""Denoised errors: the binomial noise of the validation split is taken off.

An error measured on n images is a binomial share. Where the negative log error is g, its
measurement has a variance of about

    V(g) = (1 - exp(-g)) / (n exp(-g))                                                    (1)

(437 images tell 2 % from 1.4 % as badly as 10 % from 8.6 %). At the expensive end of a front all
errors are small, and noise makes most of their differences. Measured negative log errors g are
shrunk towards a quadratic trend m over log cost by the share of the variance about the trend that
is noise (empirical Bayes), but at most `MAX_SHIFT` standard deviations of the noise (limited
translation; Efron and Morris, "Limiting the risk of Bayes and empirical Bayes estimators",
JASA 67, 1972):

    g + clip((m - g) V(m) / (V(m) + a), -MAX_SHIFT sqrt(V(g)), MAX_SHIFT sqrt(V(g)))      (2)

with the variance a of the architectures' own differences from the trend. An error far from the
trend therefore keeps most of its distance. All trials of a study are measured on the same images;
noise that they share counts as noise too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.stopping.neg_log_error import binomial_variance, neg_log_error

Array = NDArray[np.float64]

PENALTY = 1.0  # ridge on standardised features: as much as one trial that shows no trend
MIN_OWN_VARIANCE = 0.02  # lower bound of a in (2)
MAX_SHIFT = 2.0  # standard deviations of the noise


class BinomialNoise:
    """The trend of finished trials over log cost, and the noise of their errors about it.

    Args:
        costs: [N, costs], log10.
        errors: [N], measured.
        images: number of validation images; None: errors have no noise.

    Raises:
        ValueError: an error is not a share of images.
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
        noise = float(binomial_variance(trend, images).mean())
        self._own_variance = max(variance - noise, MIN_OWN_VARIANCE)

    def denoise(self, costs: Array, errors: Array) -> tuple[Array, Array]:
        """Denoised errors, and the noise variances of the logarithms of the measured ones.

        Args:
            costs: [N, costs], log10.
            errors: [N], measured.

        Returns:
            [N] each; without `images` the errors themselves and zeros.
        """
        if self._images is None:
            return errors, np.zeros(len(errors))
        trend = self._design(costs) @ self._weights
        measured = neg_log_error(1.0 - errors, self._images)
        noise = binomial_variance(trend, self._images)  # (1)
        shift = (trend - measured) * noise / (noise + self._own_variance)
        limit = MAX_SHIFT * np.sqrt(binomial_variance(measured, self._images))
        denoised = measured + np.clip(shift, -limit, limit)  # (2)
        return np.exp(-denoised), binomial_variance(denoised, self._images)

    def _design(self, costs: Array) -> Array:
        """Rows of the regression: one, standardised log costs, and their squares."""
        scaled = (costs - self._centre) / self._spread
        return np.column_stack([np.ones(len(scaled)), scaled, scaled * scaled])
