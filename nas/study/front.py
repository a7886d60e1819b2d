"""The Pareto front of a study: of the trials that finished the whole schedule alone.

It holds the trials that no other one dominates as measured, and those that are more likely on the
front than not although their measurement is dominated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.pareto import non_dominated
from nas.study.config import StudyConfig
from nas.study.estimate import Estimate, estimate_trials
from nas.study.knee import knee_index
from nas.study.objectives import Objectives, percent

HARDLY_BETTER = 1.1  # times the accuracy of guessing
LIKELY = 0.5  # probability of being on the front from which a trial belongs to it


@dataclass(frozen=True)
class FrontMember:
    """One trial of the front."""

    trial: FrozenTrial
    estimate: Estimate | None = None  # None: not computed, see `front`
    knee: bool = False  # see `nas.study.knee`

    @property
    def attributes(self) -> dict[str, Any]:
        """The trial's user attributes."""
        return self.trial.user_attrs

    @property
    def expected(self) -> float:
        """The accuracy to choose by: the estimate, or where there is none the measurement."""
        measured = float(self.trial.user_attrs["accuracy"])
        return measured if self.estimate is None else self.estimate.accuracy


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """COMPLETE trials in the order of their numbers, each architecture once."""
    return _finished(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and "duplicate_of" not in trial.user_attrs
    ]


def measured_front(trials: Sequence[FrozenTrial], objectives: Objectives) -> list[FrontMember]:
    """The members of the front as measured, cheapest first, without estimates and knee.

    Of trials with equal objectives it has the first. It takes no time to speak of, while
    `front_of_trials` fits a model.

    Args:
        trials: of a study, in any state.
        objectives: of the study.
    """
    finished = _finished(trials)
    if not finished:
        return []
    losses = to_losses(finished, objectives)
    kept = [finished[i] for i in np.flatnonzero(non_dominated(losses))]
    return [FrontMember(trial) for trial in _by_cost(kept, objectives)]


def front_of_trials(
    trials: Sequence[FrozenTrial], config: StudyConfig, images: int | None
) -> tuple[list[FrontMember], dict[int, Estimate]]:
    """The members of the front, cheapest first, and the estimates of all finished trials.

    A trial that another one dominates as measured is a member where the probability that it is
    on the front is at least `LIKELY`.

    Args:
        trials: of a study, in any state.
        config: of the study.
        images: number of validation images; None: not known.
    """
    objectives = config.objectives
    measured = measured_front(trials, objectives)
    estimates = estimate_trials(trials, config, images)
    kept = {member.trial.number: member.trial for member in measured}
    for trial in _finished(trials):
        share = estimates[trial.number].on_front
        if share is not None and share >= LIKELY:
            kept[trial.number] = trial
    members = _by_cost(list(kept.values()), objectives)
    cost = objectives.main_cost
    knee = knee_index(
        [trial.user_attrs[cost] for trial in members],
        [estimates[trial.number].accuracy for trial in members],
    )
    return [
        FrontMember(trial, estimates[trial.number], index == knee)
        for index, trial in enumerate(members)
    ], estimates


def front(study: optuna.Study, config: StudyConfig) -> list[FrontMember]:
    """The members of a study's front with their estimates, cheapest first."""
    images = validation_images(study.user_attrs)
    return front_of_trials(study.get_trials(deepcopy=False), config, images)[0]


def validation_images(attributes: Mapping[str, Any]) -> int | None:
    """The number of validation images in a study's attributes, where it is known."""
    images = attributes.get("val_images")
    return int(images) if images else None


def _by_cost(trials: list[FrozenTrial], objectives: Objectives) -> list[FrozenTrial]:
    """Trials by their first cost, of equal ones in the order of their numbers."""
    column = objectives.names.index(objectives.costs[0])
    return sorted(trials, key=lambda trial: (trial.values[column], trial.number))


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
