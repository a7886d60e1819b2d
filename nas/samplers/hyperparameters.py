"""The hyperparameters of the kernel: names, priors, and their vector theta.

Theta holds the logarithms of all hyperparameters, so every gradient is by a logarithm. Every
hyperparameter has a log-normal prior. The length scale of a choice is the product of a shared
length scale and the choice's own factor: few trials tell little about each choice, but much about
the smoothness of the space. Few pairs of choices interact strongly, so the prior of the pair
weights is wide.

With sources (`sources.py`) there are more: the variance of the part that is shared with each
source, and factors on the variances of the study's own part, on all of them and by cost. Their
priors are wide, because a source may tell everything or nothing.
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
    "noise": (0.01, 1.5),  # variances, in units of the variance of the targets
    "trend": (0.5, 1.0),
    "cost": (0.15, 0.7),
    "main_effects": (0.3, 1.0),
    "pair_effects": (0.3, 1.0),
    "triple_effects": (0.15, 1.0),
    "product": (0.1, 1.0),
    "interaction_length": (1.0, 1.0),  # in positions of the list of choices
    "cost_length": (2.5, 0.5),  # length scales, in standard deviations of log cost
    "product_cost_length": (4.0, 0.5),
    "shared_length": (0.8, 1.0),  # of all choices, in main effects and interactions
    "shared_product_length": (1.5, 1.0),  # of all choices, in the product term
    "weight": (1.0, 0.7),  # of each choice
    "length": (1.0, 0.7),  # of each choice, in units of the shared one
    "product_length": (1.0, 0.7),
    "pair_weight": (1.0, 1.5),  # of each pair of choices
}
SOURCE_PRIORS = {
    "own": (0.3, 1.5),  # factor on the variances of the study's own part
    "shared": (0.5, 1.5),  # of each source, the variance of the part shared with it
}
"""Hyperparameters of a study that has sources, besides `PRIORS`."""
TILT_PRIOR = {"tilt": (1.0, 1.0)}  # factor on variances by standard deviation of log cost
"""The hyperparameter of a kernel whose variances change with cost."""
OWN = ("trend", "cost", "main_effects", "pair_effects", "triple_effects", "product")
"""The variances that `own` is a factor on."""
GROUP_SIZE = {"weight": 1, "length": 1, "product_length": 1, "pair_weight": 2}
"""Hyperparameters that every choice or every pair of choices has one of."""


class KernelValues(NamedTuple):
    """The hyperparameters of `PRIORS`: numbers, and arrays over choices or pairs of choices."""

    noise: float
    trend: float
    cost: float
    main_effects: float
    pair_effects: float
    triple_effects: float
    product: float
    interaction_length: float
    cost_length: float
    product_cost_length: float
    shared_length: float
    shared_product_length: float
    weight: Array
    length: Array
    product_length: Array
    pair_weight: Array  # in the order (0, 1), (0, 2), ..., (1, 2), ...
    tilt: float = 1.0
    shared: Array | None = None  # over sources; None without them


class Hyperparameters:
    """The place of every hyperparameter in theta.

    `prior_mean` and `prior_deviation`, [theta], are those of the logarithms.

    Args:
        choices: number of choices.
        sources: number of sources.
        tilted: variances change with cost.
    """

    def __init__(self, choices: int, sources: int = 0, *, tilted: bool = False) -> None:
        self._sources = sources
        priors = PRIORS | (TILT_PRIOR if tilted else {}) | (SOURCE_PRIORS if sources else {})
        self.slices: dict[str, slice] = {}
        medians: list[float] = []
        deviations: list[float] = []
        for name, (median, deviation) in priors.items():
            n = math.comb(choices, GROUP_SIZE[name]) if name in GROUP_SIZE else 1
            n = sources if name == "shared" else n
            self.slices[name] = slice(len(medians), len(medians) + n)
            medians += [math.log(median)] * n
            deviations += [deviation] * n
        self.prior_mean = np.array(medians)
        self.prior_deviation = np.array(deviations)

    def values(self, theta: Array) -> KernelValues:
        """The hyperparameters whose logarithms theta holds."""
        numbers = np.exp(theta)
        named: dict[str, Any] = {
            name: numbers[part]
            if name in GROUP_SIZE or name == "shared"
            else float(numbers[part.start])
            for name, part in self.slices.items()
        }
        if self._sources:
            own = named.pop("own")
            named |= {name: own * named[name] for name in OWN}
        return KernelValues(**named)

    def gradient(self, named: Mapping[str, Any]) -> Array:
        """Gradient by theta, from those by the logarithms of all but `own`."""
        by_own = {"own": sum(named[name] for name in OWN)} if self._sources else {}
        named = {**named, **by_own}
        return np.concatenate([np.atleast_1d(named[name]) for name in self.slices])
