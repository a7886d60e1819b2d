"""The choices of a space as parameters of an Optuna study."""

from __future__ import annotations

from collections.abc import Iterable

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from nas.space.space import Choice, Setting, Value


class SpaceExhausted(RuntimeError):
    """A sampler has nothing left to suggest: every architecture was tried."""


def distribution(choice: Choice) -> BaseDistribution:
    """The distribution of a choice: evenly spaced integers as such, anything else categorical."""
    values = choice.values
    if len(values) > 1 and all(isinstance(value, int) for value in values):
        integers = sorted(int(value) for value in values)
        step = integers[1] - integers[0]
        if list(values) == list(range(integers[0], integers[-1] + 1, step)):
            return IntDistribution(integers[0], integers[-1], step=step)
    return CategoricalDistribution(values)


def suggest(trial: optuna.Trial, choices: Iterable[Choice]) -> Setting:
    """Ask the study's sampler for a value of every choice that has an effect.

    Args:
        trial: a trial that the study was asked for.
        choices: of the space; a condition comes before the choices that depend on it.

    Raises:
        SpaceExhausted: every architecture was tried.
    """
    setting: Setting = {}
    for choice in choices:
        if choice.active(setting):
            setting[choice.name] = suggest_value(trial, choice)
    return setting


def suggest_value(trial: optuna.Trial, choice: Choice) -> Value:
    """Ask the study's sampler for a value of a choice; a single value is no parameter."""
    values = choice.values
    if len(values) == 1:
        return values[0]
    integers = distribution(choice)
    if isinstance(integers, IntDistribution):
        return trial.suggest_int(choice.name, integers.low, integers.high, step=integers.step)
    return trial.suggest_categorical(choice.name, values)  # type: ignore[return-value]
