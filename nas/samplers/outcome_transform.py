"""How errors become the targets of the Gaussian process: log(error - floor), standardised.

The floor is what no architecture of the space can beat. It is not known, so it is a
hyper-parameter like the kernel's: its gap below the least error so far, in units of the
range from there to the median, has a log-normal prior, and the likelihood of the errors
themselves (with the Jacobian of the transform) decides.

Least and median are those of expected errors (`luck.py`), as a lucky trial may show less
than the floor. The target of an error is the transform's expansion about what is expected,

    log(expected - floor) + (error - expected) / (expected - floor),

the working response of iteratively reweighted least squares (McCullagh and Nelder,
"Generalized Linear Models", 1989).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GAP = (0.5, 0.4)
"""Prior of the gap: median and standard deviation of the logarithm."""
LEAST_RANGE = 1e-4  # of error, so that equal errors have a scale too
LEAST_DEVIATION = 1e-6  # of log(error - floor), likewise


class Scale(NamedTuple):
    """target = (log(error - floor) - mean) / deviation, expanded about the expected error."""

    floor: float
    mean: float
    deviation: float

    def targets(self, errors: Array, expected: Array) -> Array:
        """Standardised targets, [N], of errors as measured and as expected, [N].

        Expected errors below the floor count as just above it.
        """
        above = np.maximum(expected - self.floor, 1e-6)
        scaled: Array = (np.log(above) + (errors - expected) / above - self.mean) / self.deviation
        return scaled

    def errors(self, targets: Array) -> Array:
        """Errors, [N], that are expected of targets, [N]."""
        found: Array = np.exp(targets * self.deviation + self.mean) + self.floor
        return found

    def variances(self, expected: Array, of_logs: Array) -> Array:
        """Variances of targets, [N], from those of the logarithms of errors, [N]."""
        # d log(e - floor) = e / (e - floor) d log e
        found: Array = of_logs * (expected / np.maximum(expected - self.floor, 1e-6)) ** 2
        return found / self.deviation**2


class Warped(NamedTuple):
    """The transform of some errors at one gap, and its derivatives by the gap's logarithm."""

    targets: Array  # [N]
    jacobian: float  # log of the transform's Jacobian
    targets_slope: Array  # [N]
    jacobian_slope: float
    variances: Array  # [N], of the targets
    variances_slope: Array  # [N]


class Warp:
    """The transform of some errors, as a function of the gap.

    Args:
        errors: [N], measured.
        expected: [N], what they would be without luck.
        variances: [N], of their logarithms, besides the noise that every error has.
    """

    def __init__(self, errors: Array, expected: Array, variances: Array) -> None:
        self._least = float(expected.min())
        self._range = max(float(np.median(expected)) - self._least, LEAST_RANGE)
        self._luck, self._expected, self._variances = errors - expected, expected, variances

    def __call__(self, log_gap: float) -> Warped:
        """The transform at a gap, given by its logarithm, and its derivatives by that."""
        scale = self.scale(log_gap)
        above = self._expected - scale.floor
        luck = self._luck / above
        targets = (np.log(above) + luck - scale.mean) / scale.deviation
        jacobian = -float(np.log(above).sum()) - len(above) * math.log(scale.deviation)
        of_log = (self._least - scale.floor) / above  # slope of log(expected - floor)
        slope = of_log * (1 - luck)
        relative = float(targets @ (slope - slope.mean())) / len(above) / scale.deviation
        variances = scale.variances(self._expected, self._variances)
        return Warped(
            targets,
            jacobian,
            (slope - slope.mean()) / scale.deviation - targets * relative,
            -float(of_log.sum()) - len(above) * relative,
            variances,
            -2 * variances * (of_log + relative),
        )

    def scale(self, log_gap: float) -> Scale:
        """The transform in numbers."""
        floor = self._least - math.exp(log_gap) * self._range
        above = self._expected - floor
        logs = np.log(above) + self._luck / above
        return Scale(floor, float(logs.mean()), math.hypot(float(logs.std()), LEAST_DEVIATION))
