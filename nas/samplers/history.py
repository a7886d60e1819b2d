"""What a study's trials say to the sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.samplers.candidates import Candidates
from nas.samplers.encoding import Code
from nas.space.space import Setting

RETRIED = ("interrupted", "never_launched")
"""Reasons of FAIL that leave the architecture to be tried again."""
REPEATS_RUNNING = "repeats_running"
"""Reason of FAIL of a trial that repeats a running one."""
ASKING = timedelta(seconds=10)
"""A trial that began so shortly before and lacks parameters is being asked for elsewhere."""


class Ended(NamedTuple):
    """A trial that finished, or was stopped early."""

    code: Code
    curve: dict[int, float]  # see `curve`
    error: float | None  # of one that finished


@dataclass
class History:
    """Trials, sorted by what they are, in an order that does not depend on this process."""

    ended: list[Ended] = field(default_factory=list)  # in order of their end
    pending: list[Code] = field(default_factory=list)  # running, and queued with all values
    tried: set[int] = field(default_factory=set)  # identities never to be suggested
    asking: list[int] = field(default_factory=list)  # trials before this one, see `ASKING`

    @property
    def finished(self) -> list[Code]:
        """Trained to the end."""
        return [trial.code for trial in self.ended if trial.error is not None]

    @property
    def errors(self) -> list[float]:
        """Of those, as measured."""
        return [trial.error for trial in self.ended if trial.error is not None]

    @property
    def started(self) -> int:
        """Trials that were trained or are being trained."""
        return len(self.ended) + len(self.pending)


def read(
    study: optuna.Study,
    current: int,
    candidates: Candidates,
    objective: int,
    suggested: Mapping[int, Setting],
) -> History:
    """The history of a study.

    Args:
        study: where the trials are.
        current: number of the trial that is being asked for.
        candidates: of the space; trials of other spaces are passed over.
        objective: position of the objective that has to be learned.
        suggested: for running trials, by number: the study may not have all of it yet.
    """
    history = History()
    maximise = study.directions[objective] == optuna.study.StudyDirection.MAXIMIZE
    trials = study.get_trials(deepcopy=False)
    names = {choice.name for choice in candidates.encoding.choices}
    start = next((t.datetime_start for t in trials if t.number == current), None)
    # By the time of their end: later trials are then always behind earlier ones.
    trials = sorted(trials, key=lambda t: (t.datetime_complete or datetime.max, t.number))
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
                begun = trial.datetime_start or datetime.min
                if trial.number < current and start - begun < ASKING:
                    history.asking.append(trial.number)
            continue
        again = trial.state == TrialState.FAIL and trial.user_attrs.get("reason") in RETRIED
        identity = candidates.known(code).identity
        repeated = identity in history.tried
        if trial.user_attrs.get("reason") == REPEATS_RUNNING:
            continue  # the trial that it repeats counts, however it ends
        if not again:
            history.tried.add(identity)
        if repeated or trial.state == TrialState.FAIL:
            continue
        if trial.state == TrialState.COMPLETE:
            value = float(trial.values[objective])
            if np.isfinite(value):
                error = 1.0 - value if maximise else value
                history.ended.append(Ended(code, curve(trial), error))
        elif trial.state == TrialState.PRUNED:
            history.ended.append(Ended(code, curve(trial), None))
        else:
            history.pending.append(code)
    return history


def curve(trial: FrozenTrial) -> dict[int, float]:
    """Accuracy after each epoch at which a trial was evaluated, maybe empty."""
    points = trial.user_attrs.get("curve") or []
    return {int(epoch): float(accuracy) for epoch, accuracy in points}
