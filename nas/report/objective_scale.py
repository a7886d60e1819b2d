"""The scale on which the hypervolume of a study's front is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.pareto import HypervolumeTracker
from nas.space.cost import Cost, cost
from nas.space.limits import extreme
from nas.study.config import StudyConfig

LATENCY_RANGE = (1e-5, 10.0)  # seconds; a latency's range is not known before it is measured


class ObjectiveScale:
    """Objectives as a point of the unit cube, every coordinate minimised.

    The scale depends on the study's configuration alone, so hypervolumes of studies of the
    same space and data set compare. Accuracy runs from guessing (1) to 100 % (0), each cost
    by its logarithm from the space's cheapest network (0) to its most expensive one, or to
    the limit (1). A hypervolume of 1 would be a network without an error at the lowest cost.
    """

    def __init__(self, config: StudyConfig) -> None:
        self._names = config.objectives.names
        self._guess = 1 / config.dataset.num_classes  # accuracy of guessing
        self._ranges = {name: _range(config, name) for name in self._names if name != "accuracy"}

    def tracker(self) -> HypervolumeTracker:
        """A tracker of points on this scale."""
        return HypervolumeTracker([1.0] * len(self._names))

    def point(self, values: Mapping[str, float]) -> list[float]:
        """The coordinates of a trial, of which every objective is given."""
        return [self._coordinate(name, float(values[name])) for name in self._names]

    def _coordinate(self, name: str, value: float) -> float:
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
