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
import torch
from numpy.typing import NDArray
from torch import Tensor

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


class Warp:
    """The transform of some errors, as a function of the gap.

    Args:
        errors: [N], of finished trials.
    """

    def __init__(self, errors: Array) -> None:
        self._least = float(errors.min())
        self._range = max(float(np.median(errors)) - self._least, LEAST_RANGE)
        self._errors = torch.from_numpy(errors)

    def __call__(self, log_gap: Tensor) -> tuple[Tensor, Tensor]:
        """Targets [N] and the log of the transform's Jacobian, both differentiable."""
        logs = (self._errors - self._least + log_gap.exp() * self._range).log()
        deviation = self._deviation(logs)
        jacobian = -logs.sum() - len(logs) * deviation.log()
        return (logs - logs.mean()) / deviation, jacobian

    def scale(self, log_gap: float) -> Scale:
        """The transform in numbers."""
        floor = self._least - math.exp(log_gap) * self._range
        logs = (self._errors - floor).log()
        return Scale(floor, float(logs.mean()), float(self._deviation(logs)))

    @staticmethod
    def _deviation(logs: Tensor) -> Tensor:
        return (logs.var(correction=0) + LEAST_DEVIATION**2).sqrt()
