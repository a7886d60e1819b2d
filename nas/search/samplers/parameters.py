"""Choices as parameters of an Optuna study."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from nas.space import Choice


class SpaceExhausted(RuntimeError):
    """A sampler has nothing left to suggest: every architecture was tried."""


def distribution(choice: Choice) -> BaseDistribution:
    """The study parameter of a choice: integers in a row as such, else a category."""
    values = choice.values
    if len(values) > 1 and all(isinstance(value, int) for value in values):
        integers = sorted(int(value) for value in values)
        step = integers[1] - integers[0]
        if list(values) == list(range(integers[0], integers[-1] + 1, step)):
            return IntDistribution(integers[0], integers[-1], step=step)
    return CategoricalDistribution(values)
