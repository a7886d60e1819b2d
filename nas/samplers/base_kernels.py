r"""Base kernels: similarities of two values of a choice, and of two costs.

For numbers at distance r, in units of the length scale, the Matérn-5/2 correlation

    M(r) = (1 + q + q^2 / 3) exp(-q),    q = sqrt(5) r                                    (1)

(Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 4.17); for
different words exp(-1 / length). "Without effect" is a value of its own. A kernel z of one choice
is centred by subtracting its means over the values u of the choice, and scaled to a mean variance
of 1:

    c(x, y) = (z(x, y) - mean_u z(x, u) - mean_u z(u, y) + mean_uw z(u, w)) / mean_u c'(u, u)  (2)

with the numerator c'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.space.space import Choice

Array = NDArray[np.float64]

RANK_RANGE = 2.0  # distance between the smallest and the largest number of a choice


class ChoiceKernels:
    """The kernel of every choice, as a table over its values.

    Tables have a last row and column for "without effect", at position `len(values)`.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.size = 1 + max(len(choice.values) for choice in choices)
        self._distance = np.stack([_distances(choice, self.size) for choice in choices])
        self._ordinal = np.array([choice.ordinal for choice in choices])[:, None, None]
        shares = np.stack([_shares(choice, self.size) for choice in choices])
        # A table times this matrix has no mean over its second value.
        self._centring = np.eye(self.size) - shares[:, None, :]
        self._centring_transposed = self._centring.transpose(0, 2, 1)
        self._shares = np.eye(self.size) * shares[:, None, :]  # on the diagonal

    def __call__(self, lengths: Array) -> tuple[Array, Array]:
        """Log similarities, and their slopes by log length, [choices, size, size] each.

        Args:
            lengths: [choices], length scales.
        """
        scaled = self._distance / lengths[:, None, None]
        return (
            np.where(self._ordinal, log_matern(scaled), -scaled),
            np.where(self._ordinal, matern_slope(scaled), scaled),
        )

    def centred(self, lengths: Array) -> tuple[Array, Array]:
        """Centred kernels (2), and their slopes by log length, [choices, size, size] each.

        Means are over the values that occur, all equally likely; "without effect" occurs
        where the choice has a condition. Of values at equal distances (words, two numbers)
        the result does not depend on the length scale.

        Args:
            lengths: [choices], length scales.
        """
        logs, slopes = self(lengths)
        similarity = np.exp(logs)
        tables = np.stack([similarity, similarity * slopes])
        tables = self._centring @ tables @ self._centring_transposed
        centred, slope = tables
        variance, variance_slope = (tables * self._shares).sum((-2, -1), keepdims=True)
        variance = np.where(variance > 0, variance, 1.0)  # 0 for a single value
        return centred / variance, slope / variance - centred * variance_slope / variance**2


def matern(distance: Array, log_factor: Array | float = 0.0) -> Array:
    """The Matérn-5/2 correlation (1), times a factor that is given by its logarithm."""
    q = math.sqrt(5.0) * distance
    correlation: Array = (1 + q + q * q / 3) * np.exp(log_factor - q)
    return correlation


def log_matern(distance: Array) -> Array:
    """Logarithm of the Matérn-5/2 correlation."""
    q = math.sqrt(5.0) * distance
    return np.log1p(q + q * q / 3) - q


def matern_slope(distance: Array) -> Array:
    """Derivative of `log_matern` by the log length scale, at a distance in length scales."""
    q = math.sqrt(5.0) * distance
    return q * q * (1 + q) / (3 + 3 * q + q * q)


def _distances(choice: Choice, size: int) -> Array:
    """[size, size], distances of the values of a choice.

    Words are at distance 1 from each other and from "without effect". Numbers lie on a line
    by their ranks, and "without effect" lies beside it: as far from both ends as these are
    from each other.
    """
    n = len(choice.values)
    table: Array = 1.0 - np.eye(size)
    if not choice.ordinal:
        return table
    ordered = sorted(choice.values, key=float)
    ranks = np.array([ordered.index(value) for value in choice.values]) * RANK_RANGE / max(1, n - 1)
    table[:n, :n] = np.abs(ranks[:, None] - ranks[None, :])
    beside = np.hypot(ranks - RANK_RANGE / 2, RANK_RANGE * math.sqrt(3) / 2)
    table[:n, n] = table[n, :n] = beside
    return table


def _shares(choice: Choice, size: int) -> Array:
    """[size], share of each value among those that occur."""
    occurring = len(choice.values) + (choice.needs is not None)
    shares: Array = (np.arange(size) < occurring) / occurring
    return shares
