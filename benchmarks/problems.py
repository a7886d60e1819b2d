"""The problems of the sampler benchmark: a space, its exact cost, accuracies without training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import numpy as np

from benchmarks.tables import Table
from nas.space.space import Choice, Setting


class Problem(Protocol):
    """A search that can be replayed.

    `choices` is the space as it is, with conditions; `flat` describes it without
    conditions, for samplers that cannot use a parameter which is not in every trial.
    """

    name: str
    fingerprint: str  # changes whenever a result could change
    choices: tuple[Choice, ...]
    flat: tuple[Choice, ...]
    reference: tuple[float, float]  # log10 macs and error
    best: float | None  # hypervolume of the true front; None where it is unknown

    def unflatten(self, setting: Setting) -> Setting:
        """The setting of `choices` that equals a setting of `flat`."""

    def macs(self, setting: Mapping[str, Any]) -> float:
        """Multiply-adds, known before training."""

    def error(self, setting: Mapping[str, Any]) -> float:
        """The error that the score is computed from, in [0, 1]."""

    def observe(self, setting: Mapping[str, Any], rng: np.random.Generator | None) -> float:
        """The error told to a sampler; with a generator, that of one training seed at random."""

    def key(self, setting: Mapping[str, Any]) -> Hashable:
        """Equal for settings that are the same architecture."""


class TableProblem:
    """A table of training results as a problem."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.name = table.name
        self.fingerprint = table.fingerprint
        self.choices = self.flat = table.choices
        self.reference = table.reference
        self.best: float | None = table.best

    def unflatten(self, setting: Setting) -> Setting:
        """The setting itself: a table has no conditions."""
        return setting

    def macs(self, setting: Mapping[str, Any]) -> float:
        """Multiply-adds of the row."""
        return float(self.table.macs[self.table.row(setting)])

    def error(self, setting: Mapping[str, Any]) -> float:
        """Mean error over the training seeds."""
        return float(self.table.error[self.table.row(setting)])

    def observe(self, setting: Mapping[str, Any], rng: np.random.Generator | None) -> float:
        """The mean, or one training seed's error."""
        if rng is None:
            return self.error(setting)
        return 1.0 - float(rng.choice(self.table.accuracy[self.table.row(setting)]))

    def key(self, setting: Mapping[str, Any]) -> Hashable:
        """The row."""
        return self.table.row(setting)
