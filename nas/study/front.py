"""The Pareto front of a study: of the trials that finished the whole schedule alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.pareto import non_dominated
from nas.study.config import StudyConfig
from nas.study.objectives import Objectives, percent

HARDLY_BETTER = 1.1  # times the accuracy of guessing


@dataclass(frozen=True)
class FrontMember:
    """One trial of the front."""

    trial: FrozenTrial
    knee: bool  # whether it is closest to the ideal point, see `knee_index`

    @property
    def attributes(self) -> dict[str, Any]:
        """The trial's user attributes."""
        return self.trial.user_attrs


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """COMPLETE trials in the order of their numbers, each architecture once."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if "duplicate_of" not in trial.user_attrs]


def front(study: optuna.Study, objectives: Objectives) -> list[FrontMember]:
    """The members of the front, cheapest first; of trials with equal objectives the first."""
    trials = finished_trials(study)
    if not trials:
        return []
    losses = to_losses(trials, objectives)
    kept = list(np.flatnonzero(non_dominated(losses)))
    cost_column = objectives.names.index(objectives.costs[0])
    kept.sort(key=lambda i: losses[i][cost_column])
    knee = kept[knee_index(losses[kept], objectives)]
    return [FrontMember(trials[i], bool(i == knee)) for i in kept]


def chance_note(members: list[FrontMember], config: StudyConfig) -> str | None:
    """A sentence where even the best network is hardly better than guessing, else None."""
    if not members:
        return None
    best = max(float(member.attributes["accuracy"]) for member in members)
    guessing = 1 / config.dataset.num_classes
    if best > HARDLY_BETTER * guessing:
        return None
    return (
        f"The best network has an accuracy of {percent(best)}; guessing among "
        f"{config.dataset.num_classes} classes has {percent(guessing)}. The networks have learned "
        "next to nothing: check the labels, the image size, the recipe and its epochs."
    )


def to_losses(trials: list[FrozenTrial], objectives: Objectives) -> np.ndarray:
    """Objective values [trial, objective], all to be minimised: accuracy becomes the error."""
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
