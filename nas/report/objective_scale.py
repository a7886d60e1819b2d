"""The scale on which the hypervolume of a study's front is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.pareto import HypervolumeTracker
from nas.space.cost import cost
from nas.space.limits import extreme
from nas.study.config import StudyConfig
from nas.study.objectives import OBJECTIVES


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
    if OBJECTIVES[name].known is None:
        return OBJECTIVES[name].range
    limit = getattr(config.limits, f"max_{name}", None)
    low, high = (extreme_cost(config, name, largest=largest) for largest in (False, True))
    return low, high if limit is None else min(limit, high)


def extreme_cost(config: StudyConfig, name: str, *, largest: bool) -> int:
    """The smallest or largest value of a known objective in the space, on the study's data set."""
    dataset = config.dataset
    sizes = (dataset.image_size, dataset.in_channels, dataset.num_classes)

    key = OBJECTIVES[name].known
    assert key is not None
    return key(cost(extreme(config.space, *sizes, key, largest=largest), *sizes))
