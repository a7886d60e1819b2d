"""How good a front is, as one number that grows: hypervolume on a scale known beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nas.pareto import hypervolume, non_dominated
from nas.space.cost import Cost, cost
from nas.space.limits import extreme
from nas.study.config import StudyConfig

LATENCY_RANGE = (1e-5, 10.0)  # seconds; a latency's range is not known before it is measured


class Trajectory:
    """The hypervolume of a growing set of trials, between 0 and 1.

    The scale depends on the study's configuration alone, so studies of the same space and
    data set compare: accuracy from guessing to 100 %, each cost by its logarithm from the
    space's cheapest to its dearest network (or the limit). 1 would be a network without an
    error at the lowest cost.
    """

    def __init__(self, config: StudyConfig) -> None:
        self._names = config.objectives.names
        self._guess = 1 / config.dataset.num_classes  # accuracy of guessing
        self._ranges = {name: _range(config, name) for name in self._names if name != "accuracy"}
        self._front = np.empty((0, len(self._names)))
        self.volume = 0.0

    def add(self, values: Mapping[str, float]) -> float:
        """The hypervolume with one more trial, of which every objective is given."""
        point = np.array([self._scale(name, float(values[name])) for name in self._names])
        if not (self._front <= point).all(axis=1).any():
            grown = np.vstack([self._front, point])
            self._front = grown[non_dominated(grown)]
            self.volume = hypervolume(self._front, np.ones(len(self._names)))
        return self.volume

    def _scale(self, name: str, value: float) -> float:
        """0 is the best that there can be, 1 where it stops counting."""
        if name == "accuracy":
            return (1 - value) / (1 - self._guess)
        low, high = self._ranges[name]
        return math.log(max(value, 1e-12) / low) / math.log(high / low) if high > low else 0.0


def _range(config: StudyConfig, name: str) -> tuple[float, float]:
    if name == "latency":
        return LATENCY_RANGE
    limit = config.limits.max_macs if name == "macs" else config.limits.max_params
    low, high = (extreme_cost(config, name, largest=largest) for largest in (False, True))
    return low, high if limit is None else min(limit, high)


def extreme_cost(config: StudyConfig, name: str, *, largest: bool) -> int:
    """The smallest or largest `macs` or `params` of the space on the study's data set."""
    data = config.dataset
    sizes = (data.image_size, data.in_channels, data.num_classes)

    def key(counted: Cost) -> int:
        return counted.macs if name == "macs" else counted.params

    return key(cost(extreme(config.space, *sizes, key, largest=largest), *sizes))
