"""The known-cost sampler for the search space of any Optuna study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from nas.samplers import KnownCostSampler as _KnownCostSampler
from nas.samplers import Source, SpaceExhausted
from nas.space.space import Choice

MAX_VALUES = 1000  # of one parameter


class KnownCostSampler(_KnownCostSampler):
    """Expected hypervolume improvement where every objective but one is a known function.

    Args:
        search_space: the distribution of each parameter, with finitely many values: integers,
            floats with a step, or categories that are words or numbers.
        costs: the known objectives of a setting of all parameters, each over 0 and minimised.
        objective: position of the objective that is learned.
        seed: of every random draw.
        images: number of images where the learned objective is an accuracy, a share of them.
        sources: results of earlier studies; their descriptions are settings of this space, or of
            one with other values of the same parameters.

    Raises:
        ValueError: a distribution has infinitely many values, or too many.
    """

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution],
        costs: Callable[[Mapping[str, Any]], tuple[float, ...]],
        *,
        objective: int = 0,
        seed: int = 0,
        images: int | None = None,
        sources: Sequence[Source] = (),
    ) -> None:
        self._search_space = dict(search_space)
        choices = [Choice(name, _values(name, one)) for name, one in search_space.items()]
        super().__init__(
            choices, costs, seed=seed, objective=objective, images=images, sources=sources
        )

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The search space, without parameters of a single value."""
        return {name: one for name, one in self._search_space.items() if not one.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of all parameters; none, which Optuna then draws, once all settings are tried."""
        try:
            return super().sample_relative(study, trial, search_space)
        except SpaceExhausted:
            return {}


def _values(name: str, distribution: BaseDistribution) -> tuple[Any, ...]:
    """All values of a distribution."""
    values: tuple[Any, ...] = ()
    if isinstance(distribution, IntDistribution):
        count = (distribution.high - distribution.low) // distribution.step + 1
        if count <= MAX_VALUES:
            values = tuple(range(distribution.low, distribution.high + 1, distribution.step))
    elif isinstance(distribution, FloatDistribution) and distribution.step is not None:
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        if count <= MAX_VALUES:
            spaced = distribution.low + distribution.step * np.arange(count)
            values = tuple(float(value) for value in spaced)
    elif isinstance(distribution, CategoricalDistribution):
        values = tuple(distribution.choices)
    if not values:
        raise ValueError(
            f"{name}: {distribution}; accepted: integers, floats with a step, or categories, with "
            f"at most {MAX_VALUES} values"
        )
    return values
