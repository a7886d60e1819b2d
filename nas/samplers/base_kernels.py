"""How alike two values of a choice are, and two costs: Matérn-5/2 and exponential."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.space.space import Choice

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
        shares = np.stack([_shares(choice, self.size) for choice in choices])
        # Times a table of two values: without its means over the first value.
        self._centring = np.eye(self.size) - shares[:, None, :]
        self._centring_transposed = self._centring.transpose(0, 2, 1)
        self._shares = np.eye(self.size) * shares[:, None, :]  # on the diagonal

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

    def centred(self, lengths: Array) -> tuple[Array, Array]:
        """Similarities without what all values of a choice share, and slopes in log length.

        Each [choices, size, size]. With each value as likely, "without effect" too where there
        is a condition, the mean over either of two values is 0, and that over a value with
        itself is 1. Of values that are all as far from each other (words, two numbers) this
        does not depend on the length.

        Args:
            lengths: [choices].
        """
        logs, slopes = self(lengths)
        similar = np.exp(logs)
        tables = self._centring @ np.stack([similar, similar * slopes]) @ self._centring_transposed
        centred, slope = tables
        variance, of_variance = (tables * self._shares).sum((-2, -1), keepdims=True)
        variance = np.where(variance > 0, variance, 1.0)  # of a single value all is 0
        return centred / variance, slope / variance - centred * of_variance / variance**2


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
    """Derivative of `log_matern` by the logarithm of the length, the distance being in lengths."""
    q = math.sqrt(5.0) * distance
    return q * q * (1 + q) / (3 + 3 * q + q * q)


def _distances(choice: Choice, size: int) -> Array:
    """[size, size], distances of a choice's values.

    "Without effect" is as far from words as these are from each other. Numbers lie on a line:
    it lies beside the line, as far from both ends as these are from each other.
    """
    n = len(choice.values)
    table: Array = 1.0 - np.eye(size)
    if not choice.ordinal:
        return table
    ranks = np.array(_ranks(choice)) * RANK_RANGE / max(1, n - 1)
    table[:n, :n] = np.abs(ranks[:, None] - ranks[None, :])
    beside = np.hypot(ranks - RANK_RANGE / 2, RANK_RANGE * math.sqrt(3) / 2)
    table[:n, n] = table[n, :n] = beside
    return table


def _shares(choice: Choice, size: int) -> Array:
    """[size], of each value among those that occur, "without effect" where there is a condition."""
    occurring = len(choice.values) + (choice.needs is not None)
    shares: Array = (np.arange(size) < occurring) / occurring
    return shares


def _ranks(choice: Choice) -> list[int]:
    ordered = sorted(choice.values, key=float)
    return [ordered.index(value) for value in choice.values]
