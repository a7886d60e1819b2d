"""How errors become the targets of the Gaussian process: log(error - floor), standardised.

The floor is what no architecture of the space can beat. It is not known, so it is a
hyper-parameter like the kernel's: its gap below the least error so far, in units of the
range from there to the median, has a log-normal prior, and the likelihood of the errors
themselves (with the Jacobian of the transform) decides.
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
    """target = (log(error - floor) - mean) / deviation."""

    floor: float
    mean: float
    deviation: float

    def targets(self, errors: Array) -> Array:
        """Standardised targets of errors; below the floor they count as just above it."""
        above = np.maximum(errors - self.floor, 1e-6)
        scaled: Array = (np.log(above) - self.mean) / self.deviation
        return scaled

    def variances(self, errors: Array, of_logs: Array) -> Array:
        """Variances of targets, from those of the logarithms of errors."""
        # d log(e - floor) = e / (e - floor) d log e
        found: Array = of_logs * (errors / np.maximum(errors - self.floor, 1e-6)) ** 2
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
        errors: [N].
        variances: [N], of their logarithms, besides the noise that every error has.
    """

    def __init__(self, errors: Array, variances: Array) -> None:
        self._least = float(errors.min())
        self._range = max(float(np.median(errors)) - self._least, LEAST_RANGE)
        self._errors, self._variances = errors, variances

    def __call__(self, log_gap: float) -> Warped:
        """The transform at a gap, given by its logarithm, and its derivatives by that."""
        scale = self.scale(log_gap)
        above = self._errors - scale.floor
        targets = (np.log(above) - scale.mean) / scale.deviation
        jacobian = -float(np.log(above).sum()) - len(above) * math.log(scale.deviation)
        slope = (self._least - scale.floor) / above  # of log(error - floor)
        relative = float(targets @ (slope - slope.mean())) / len(above) / scale.deviation
        variances = scale.variances(self._errors, self._variances)
        return Warped(
            targets,
            jacobian,
            (slope - slope.mean()) / scale.deviation - targets * relative,
            -float(slope.sum()) - len(above) * relative,
            variances,
            -2 * variances * (slope + relative),
        )

    def scale(self, log_gap: float) -> Scale:
        """The transform in numbers."""
        floor = self._least - math.exp(log_gap) * self._range
        logs = np.log(self._errors - floor)
        return Scale(floor, float(logs.mean()), math.hypot(float(logs.std()), LEAST_DEVIATION))
