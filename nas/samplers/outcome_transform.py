r"""The outcome transform: errors become targets of the Gaussian process.

The target of an error y is log(y - f), standardised to mean 0 and deviation 1. The floor f is
an error below that of every architecture of the space. It is unknown, so it is a hyperparameter
like those of the kernel: its gap below the lowest error, in units of the distance from there to
the median error, has a log-normal prior, and the likelihood of the errors themselves (with the
Jacobian of the transform) informs it.

Lowest and median error are taken of the denoised errors e (`binomial_noise.py`), because a
measured error may be below the floor by chance. The target is the transform's linear expansion
about the denoised error,

    t = (log(e - f) + (y - e) / (e - f) - mean) / deviation                               (1)

which is the working response of iteratively reweighted least squares (McCullagh and Nelder,
"Generalized Linear Models", 1989). A variance of log e becomes, since
d log(e - f) = e / (e - f) d log e,

    var t = var log e (e / (e - f))^2 / deviation^2.                                      (2)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GAP = (0.5, 0.4)  # prior of the gap: median, and standard deviation of the logarithm
SOURCE_GAP = (2.0, 0.4)  # of a study with sources: its trials are all good, so their range is small
MIN_RANGE = 1e-4  # between lowest and median error, so that equal errors have a transform
MIN_DEVIATION = 1e-6  # added in quadrature to that of log(error - floor), likewise
MIN_ABOVE = 1e-6  # distance above the floor that denoised errors are raised to


class OutcomeTransform(NamedTuple):
    """The transform (1) with its three numbers."""

    floor: float
    mean: float
    deviation: float

    def targets(self, errors: Array, denoised: Array) -> Array:
        """Targets, [N], of measured and denoised errors, [N] each; see (1)."""
        above = np.maximum(denoised - self.floor, MIN_ABOVE)
        logs = np.log(above) + (errors - denoised) / above
        targets: Array = (logs - self.mean) / self.deviation
        return targets

    def errors(self, targets: Array) -> Array:
        """The inverse: errors, [N], whose logarithms above the floor have the targets, [N]."""
        errors: Array = np.exp(targets * self.deviation + self.mean) + self.floor
        return errors

    def variances(self, denoised: Array, log_variances: Array) -> Array:
        """Variances of targets, [N], from those of log errors, [N]; see (2)."""
        above = np.maximum(denoised - self.floor, MIN_ABOVE)
        unscaled: Array = log_variances * (denoised / above) ** 2
        return unscaled / self.deviation**2


class TransformedErrors(NamedTuple):
    """The targets of some errors at one gap, and derivatives by the logarithm of the gap."""

    targets: Array  # [N]
    log_jacobian: float  # of the transform, summed over the errors
    targets_slope: Array  # [N]
    log_jacobian_slope: float
    variances: Array  # [N], of the targets
    variances_slope: Array  # [N]


class OutcomeTransformFamily:
    """The outcome transform of some errors as a function of the gap.

    Args:
        errors: [N], measured.
        denoised: [N], the same without binomial noise.
        log_variances: [N], of log errors, besides the kernel's noise.
        gap: prior of the gap, see `GAP`.
    """

    def __init__(
        self,
        errors: Array,
        denoised: Array,
        log_variances: Array,
        gap: tuple[float, float] = GAP,
    ) -> None:
        self.gap = gap
        self._lowest = float(denoised.min())
        self._range = max(float(np.median(denoised)) - self._lowest, MIN_RANGE)
        self._noise = errors - denoised
        self._denoised, self._log_variances = denoised, log_variances

    def __call__(self, log_gap: float) -> TransformedErrors:
        """Transform the errors with a gap, given by its logarithm."""
        transform = self.transform(log_gap)
        above = self._denoised - transform.floor
        noise = self._noise / above
        targets = (np.log(above) + noise - transform.mean) / transform.deviation
        log_jacobian = -float(np.log(above).sum()) - len(above) * math.log(transform.deviation)
        log_slope = (self._lowest - transform.floor) / above  # of log(denoised - floor)
        slope = log_slope * (1 - noise)
        relative = float(targets @ (slope - slope.mean())) / len(above) / transform.deviation
        variances = transform.variances(self._denoised, self._log_variances)
        return TransformedErrors(
            targets,
            log_jacobian,
            (slope - slope.mean()) / transform.deviation - targets * relative,
            -float(log_slope.sum()) - len(above) * relative,
            variances,
            -2 * variances * (log_slope + relative),
        )

    def transform(self, log_gap: float) -> OutcomeTransform:
        """The transform with a gap, given by its logarithm."""
        floor = self._lowest - math.exp(log_gap) * self._range
        above = self._denoised - floor
        logs = np.log(above) + self._noise / above
        deviation = math.hypot(float(logs.std()), MIN_DEVIATION)
        return OutcomeTransform(floor, float(logs.mean()), deviation)
