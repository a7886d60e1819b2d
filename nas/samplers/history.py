"""The trials of a study, as the sampler reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.samplers.candidates import Candidates
from nas.samplers.encoding import Code
from nas.space.space import Setting

RETRIED = ("interrupted", "never_launched")
"""Reasons of failure after which the architecture may be suggested again."""
REPEATS_RUNNING = "repeats_running"
"""Reason of failure of a trial that repeats a running one."""
ASKING = 10.0
"""A trial that started within so many seconds and lacks parameters is still being asked for."""


class EndedTrial(NamedTuple):
    """A trial that finished or was stopped early."""

    code: Code
    curve: dict[int, float]  # see `curve`
    error: float | None  # measured at the end; None: stopped early


@dataclass
class History:
    """The trials of a study by their state, in an order that no process depends on."""

    ended: list[EndedTrial] = field(default_factory=list)  # in order of their end
    pending: list[Code] = field(default_factory=list)  # running, or queued with all values
    tried: set[int] = field(default_factory=set)  # identities that are never suggested again
    asking: list[int] = field(default_factory=list)  # earlier trials that are being asked for

    @property
    def finished(self) -> list[Code]:
        """Codes of the finished trials."""
        return [trial.code for trial in self.ended if trial.error is not None]

    @property
    def errors(self) -> list[float]:
        """Measured errors of the finished trials."""
        return [trial.error for trial in self.ended if trial.error is not None]

    @property
    def started(self) -> int:
        """Number of trials that were or are being trained."""
        return len(self.ended) + len(self.pending)


def read(
    study: optuna.Study,
    current: int,
    candidates: Candidates,
    objective: int,
    suggested: Mapping[int, Setting],
) -> History:
    """Read the history of a study.

    Args:
        study: whose trials are read.
        current: number of the trial that is being asked for.
        candidates: of the space; trials of other spaces are ignored.
        objective: position of the objective that is learned.
        suggested: settings of running trials by number, which the study may lack yet.
    """
    history = History()
    maximise = study.directions[objective] == optuna.study.StudyDirection.MAXIMIZE
    trials = study.get_trials(deepcopy=False)
    names = {choice.name for choice in candidates.encoding.choices}
    start = next((t.datetime_start for t in trials if t.number == current), None)
    # Sorted by their end, so that a new trial never comes before an old one.
    trials = sorted(trials, key=order_of_end)
    for trial in trials:
        if trial.number == current:
            continue
        setting = trial.params
        if not trial.state.is_finished():
            queued = trial.system_attrs.get("fixed_params", {})
            setting = queued | suggested.get(trial.number, {}) | setting
        code = candidates.encoding.encode(setting)
        if code is None:
            if start and trial.state == TrialState.RUNNING and setting.keys() <= names:
                begun = trial.datetime_start
                recent = begun and start.timestamp() - begun.timestamp() < ASKING
                if trial.number < current and recent:
                    history.asking.append(trial.number)
            continue
        retried = trial.state == TrialState.FAIL and trial.user_attrs.get("reason") in RETRIED
        identity = candidates.info(code).identity
        repeated = identity in history.tried
        if trial.user_attrs.get("reason") == REPEATS_RUNNING:
            continue  # the trial that it repeats counts, however that one ends
        if not retried:
            history.tried.add(identity)
        if repeated or trial.state == TrialState.FAIL:
            continue
        if trial.state == TrialState.COMPLETE:
            value = float(trial.values[objective])
            if np.isfinite(value):
                error = 1.0 - value if maximise else value
                history.ended.append(EndedTrial(code, curve(trial), error))
        elif trial.state == TrialState.PRUNED:
            history.ended.append(EndedTrial(code, curve(trial), None))
        else:
            history.pending.append(code)
    return history


def order_of_end(trial: FrozenTrial) -> tuple[float, int]:
    """Sorts trials by their end, those that have not ended last.

    Optuna's times are local ones without a zone. When summer time ends the clock shows an hour
    twice, so they are compared as instants.
    """
    end = trial.datetime_complete
    return math.inf if end is None else end.timestamp(), trial.number


def curve(trial: FrozenTrial) -> dict[int, float]:
    """The learning curve of a trial: epoch -> accuracy; empty if it was never evaluated."""
    points = trial.user_attrs.get("curve") or []
    return {int(epoch): float(accuracy) for epoch, accuracy in points}
