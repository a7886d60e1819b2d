"""The Pareto front of a study, out of the trials that finished the whole schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.pareto import non_dominated
from nas.study.objectives import Objectives


@dataclass(frozen=True)
class FrontMember:
    """One trial of the front."""

    trial: FrozenTrial
    knee: bool  # whether it is the front's best compromise

    @property
    def attributes(self) -> dict[str, Any]:
        """The trial's user attributes."""
        return self.trial.user_attrs


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """COMPLETE trials in the order of their numbers, each architecture once."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if "duplicate_of" not in trial.user_attrs]


def front(study: optuna.Study, objectives: Objectives) -> list[FrontMember]:
    """The members of the front, cheapest first; equal points once."""
    trials = finished_trials(study)
    if not trials:
        return []
    losses = to_losses(trials, objectives)
    kept = list(np.flatnonzero(non_dominated(losses)))
    cost_column = next(i for i, name in enumerate(objectives.names) if name != "accuracy")
    kept.sort(key=lambda i: losses[i][cost_column])
    knee = kept[knee_index(losses[kept], objectives)]
    return [FrontMember(trials[i], bool(i == knee)) for i in kept]


def to_losses(trials: list[FrozenTrial], objectives: Objectives) -> np.ndarray:
    """Objective values [trial, objective] with every one to be minimised: accuracy as error."""
    values = np.array([trial.values for trial in trials], dtype=float)
    column = objectives.names.index("accuracy")
    values[:, column] = 1 - values[:, column]
    return values


def knee_index(losses: np.ndarray, objectives: Objectives) -> int:
    """Position of the knee: the point closest to the ideal one.

    Costs count by their logarithm; every objective is scaled to [0, 1] over the front.
    """
    scaled = losses.copy()
    for column, name in enumerate(objectives.names):
        if name != "accuracy":
            scaled[:, column] = np.log(np.maximum(scaled[:, column], 1e-12))
    span = np.ptp(scaled, axis=0)
    scaled = (scaled - scaled.min(axis=0)) / np.where(span > 0, span, 1)
    return int(np.argmin(np.linalg.norm(scaled, axis=1)))
