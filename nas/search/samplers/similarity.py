"""How alike two values of a choice are, and two costs: Matérn-5/2 and exponential."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.space import Choice

Array = NDArray[np.float64]

RANK_RANGE = 2.0  # distance between the least and the largest number of a choice


class Similarity:
    """Of each two values of each choice, "without effect" being a value of its own.

    A Matérn-5/2 of the distance of ranks for numbers, exp(-1 / length) between different words.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.size = 1 + max(len(choice.values) for choice in choices)
        self._distance = np.stack([_distances(choice, self.size) for choice in choices])
        self._ordinal = np.array([choice.ordinal for choice in choices])[:, None, None]

    def __call__(self, lengths: Array) -> tuple[Array, Array]:
        """Log similarities and their slopes in log length, each [choices, size, size].

        Args:
            lengths: [choices].
        """
        scaled = self._distance / lengths[:, None, None]
        return (
            np.where(self._ordinal, log_matern(scaled), -scaled),
            np.where(self._ordinal, matern_slope(scaled), scaled),
        )


def matern(distance: Array, log_factor: Array | float = 0.0) -> Array:
    """The Matérn-5/2 correlation, times a factor whose logarithm is given."""
    q = math.sqrt(5.0) * distance
    correlation: Array = (1 + q + q * q / 3) * np.exp(log_factor - q)
    return correlation


def log_matern(distance: Array) -> Array:
    """Logarithm of the Matérn-5/2 correlation."""
    q = math.sqrt(5.0) * distance
    return np.log1p(q + q * q / 3) - q


def matern_slope(distance: Array) -> Array:
    """Derivative of that by the logarithm of the length, the distance being in lengths."""
    q = math.sqrt(5.0) * distance
    return q * q * (1 + q) / (3 + 3 * q + q * q)


def _distances(choice: Choice, size: int) -> Array:
    """[size, size], distances of a choice's values; "without effect" is as far as the farthest."""
    n = len(choice.values)
    if choice.ordinal:
        ranks = np.array(_ranks(choice)) * RANK_RANGE / max(1, n - 1)
        inner = np.abs(ranks[:, None] - ranks[None, :])
        far = RANK_RANGE
    else:
        inner, far = 1.0 - np.eye(n), 1.0
    table: Array = far * (1.0 - np.eye(size))
    table[:n, :n] = inner
    return table


def _ranks(choice: Choice) -> list[int]:
    ordered = sorted(choice.values, key=float)
    return [ordered.index(value) for value in choice.values]
