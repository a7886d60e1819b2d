"""The hyper-parameters of the kernel: their names, their priors, and theta.

Theta holds their logarithms in one vector, so that every gradient is with respect to a
logarithm. Every hyper-parameter has a log-normal prior. A choice's length is the product of
one that all share and of its own deviation: few trials tell little of each choice, but much
of how smooth the space is. Few pairs of choices interact much, so theirs spreads widely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# name: (median, standard deviation of the logarithm)
PRIORS = {
    "noise": (0.01, 1.5),  # variances, in units of the targets' variance
    "trend": (0.5, 1.0),
    "cost": (0.15, 0.7),
    "effects": (0.3, 1.0),
    "pairs": (0.3, 1.0),
    "triples": (0.15, 1.0),
    "all": (0.1, 1.0),
    "decay": (1.0, 1.0),  # length of d, in choices
    "cost_length": (2.5, 0.5),  # lengths, in standard deviations of log cost
    "all_cost_length": (4.0, 0.5),
    "common_length": (0.8, 1.0),  # of all choices, in effects, pairs and triples
    "common_all_length": (1.5, 1.0),  # of all choices, in the product
    "weight": (1.0, 0.7),  # of each choice
    "length": (1.0, 0.7),  # of each choice, in units of the common one
    "all_length": (1.0, 0.7),
    "couple": (1.0, 1.5),  # of each pair of choices
}
GROUP = {"weight": 1, "length": 1, "all_length": 1, "couple": 2}
"""Number of choices that each of these belongs to; there is one for each such group."""


class Values(NamedTuple):
    """Hyper-parameters themselves: numbers, and arrays for those of each choice or couple."""

    noise: float
    trend: float
    cost: float
    effects: float
    pairs: float
    triples: float
    all: float
    decay: float
    cost_length: float
    all_cost_length: float
    common_length: float
    common_all_length: float
    weight: Array
    length: Array
    all_length: Array
    couple: Array  # in the order of (0, 1), (0, 2), ..., (1, 2), ...


class Hyperparameters:
    """Where each hyper-parameter lies in theta, for a number of choices.

    `prior_mean` and `prior_deviation`, [theta], are those of the logarithms.
    """

    def __init__(self, choices: int) -> None:
        self.slices: dict[str, slice] = {}
        medians: list[float] = []
        spreads: list[float] = []
        for name, (median, spread) in PRIORS.items():
            n = math.comb(choices, GROUP[name]) if name in GROUP else 1
            self.slices[name] = slice(len(medians), len(medians) + n)
            medians += [math.log(median)] * n
            spreads += [spread] * n
        self.prior_mean = np.array(medians)
        self.prior_deviation = np.array(spreads)

    def values(self, theta: Array) -> Values:
        """The hyper-parameters that theta holds the logarithms of."""
        numbers = np.exp(theta)
        named: dict[str, Any] = {
            name: numbers[part] if name in GROUP else float(numbers[part.start])
            for name, part in self.slices.items()
        }
        return Values(**named)

    @staticmethod
    def gradient(named: Mapping[str, Any]) -> Array:
        """By theta, from those by the logarithm of each: numbers, and arrays."""
        return np.concatenate([np.atleast_1d(named[name]) for name in PRIORS])
