"""The study of a search: it asks for architectures and stores their results.

The study database is the only source of truth (docs/design.md, decision 1). `SearchStudy` adds
to Optuna's ask and tell what a search needs: a budget of distinct architectures, hard limits,
failures with a reason, results of repeated architectures without training, and the recovery of
trials that a dead driver left behind.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.samplers import SpaceExhausted
from nas.samplers.history import REPEATS_RUNNING
from nas.samplers.parameters import suggest, suggest_value
from nas.space.arch import Arch
from nas.space.cost import Cost, cost
from nas.space.space import Setting
from nas.study.config import StudyConfig
from nas.study.latency_prediction import LatencyPrediction
from nas.study.left_behind import queue_left_behind
from nas.study.measurement import Measurement
from nas.study.objectives import known_values
from nas.study.storage.optuna_private import trial_handle
from nas.study.storage.retrying import batch_writes
from nas.study.trial_state import (
    INTERRUPTED,
    LAUNCHED,
    NEVER_LAUNCHED,
    OVER_LATENCY,
    OVER_LIMIT,
    UNCOUNTED,
)
from nas.study.unseen import draw_unseen

MAX_REPEATS_IN_A_ROW = 20  # unusable suggestions, after which one is drawn at random
CONTROL_SECONDS = "latency_control"  # attribute of a study that measures latency

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)  # finished, and stopped early


@dataclass(frozen=True)
class Candidate:
    """A trial that is to be run."""

    number: int
    arch: Arch
    cost: Cost
    seed: int


class SearchStudy:
    """Ask and tell over an Optuna study, one driver at a time.

    Args:
        study: opened with the sampler that is to suggest.
        config: what the study was started with.
        budget: distinct architectures to train to the end or to an early stop, over the
            life of the study.
        seed: of everything random that is drawn here, and of every trial.
        joint: suggest choices without effect too, for samplers that drop parameters
            that some trial lacks.
        latency: what the sampler learns latencies from; None: it does not.

    Nothing is written before `recover` or `ask` is called.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        *,
        budget: int,
        seed: int = 0,
        joint: bool = False,
        latency: LatencyPrediction | None = None,
    ) -> None:
        self.study = study
        self.config = config
        self.budget = budget
        self.seed = seed
        self.exhausted = False  # no architecture of the space is left
        self._used_up = False  # the sampler has no candidate left
        self.failures: Counter[str] = Counter()  # by reason, since this object exists
        self.duplicates = 0  # suggestions that repeated a known architecture
        # Seconds of the control network: before the first trial, where latency is limited, or in
        # the study's first measurement of latency.
        self.control_seconds: float | None = study.user_attrs.get(CONTROL_SECONDS)
        self._joint, self._latency = joint, latency
        self._outcomes: dict[str, FrozenTrial] = {}  # finished or failed for good, by arch_id
        self._running: dict[int, Candidate] = {}
        self._trials: dict[int, optuna.Trial] = {}
        self._next = 0  # number of the next new trial, if none is left behind
        self._ahead = False  # whether the trial that is asked for is not launched at once
        self._asking = False  # whether an `ask` failed, which may have left a trial behind
        self._read()

    def recover(self) -> int:
        """Fail the trials that a dead driver left RUNNING, and queue their architectures again.

        Call it once, under the study's lock, before the first `ask`.

        Returns:
            How many trials were left behind.
        """
        left = queue_left_behind(self.study, self._outcomes.keys())
        self._next = len(self.study.get_trials(deepcopy=False))
        return left

    def try_first(self, archs: Sequence[Arch]) -> None:
        """Queue architectures of the space, each once over the life of the study.

        Call it after `recover`: no trial is RUNNING then.
        """
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        queued = {t.user_attrs.get(name) for t in waiting for name in ("try_arch", "retry_arch")}
        for arch in archs:
            if arch.arch_id not in self._outcomes.keys() | queued:
                self._enqueue(self.config.space.encode(arch), {"try_arch": arch.arch_id})

    @property
    def counted(self) -> int:
        """Distinct architectures that count for the budget."""
        return sum(trial.state in ENDED for trial in self._outcomes.values())

    @property
    def running(self) -> Mapping[int, Candidate]:
        """Trials that were asked for and have no result yet, by number."""
        return self._running

    @property
    def done(self) -> bool:
        """Whether nothing is running and nothing more will be asked for."""
        return not self._running and (self.counted >= self.budget or self.exhausted)

    def cost(self, arch: Arch) -> Cost:
        """Cost of `arch` on the study's data set."""
        data = self.config.dataset
        return cost(arch, data.image_size, data.in_channels, data.num_classes)

    def expect(self, asks: int) -> None:
        """Tell the sampler how many trials are asked for next, before any result is told."""
        expect = getattr(self.study.sampler, "expect", None)
        if expect is not None:
            expect(asks)

    def ask(self, *, ahead: bool = False) -> Candidate | None:
        """The next architecture to train; None where the budget or the space has no more.

        None may also mean that running trials could still fail and be replaced: see `done`.

        Args:
            ahead: whether the trial waits until `launch` is called; otherwise it counts as
                launched.
        """
        self._ahead = ahead
        if self._latency is not None and self._latency.learn(self.study):
            self._used_up = False
        if self.counted + len(self._running) >= self.budget or self.exhausted:
            return None
        # A sampler without candidates would leave a failed trial at each ask.
        for _ in range(MAX_REPEATS_IN_A_ROW if self._queued() or not self._used_up else 0):
            try:
                candidate = self._suggest()
            except SpaceExhausted:
                self._used_up = True
                break
            if candidate is not None:
                return candidate
        taken = self._outcomes.keys() | {c.arch.arch_id for c in self._running.values()}
        arch = draw_unseen(self.config, taken, self.seed, self._latency)
        if arch is None and self._latency and self._latency.learn(self.study, at_once=True):
            self._used_up = False
            return self.ask(ahead=ahead)  # what was measured last may change what is expected
        if arch is None:
            # A running trial may still be interrupted and queued again; nothing else is left.
            self.exhausted = True
            return None
        self._enqueue(self.config.space.encode(arch), {})
        return self._suggest()

    def _queued(self) -> bool:
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def launch(self, number: int) -> None:
        """Store that a trial that was asked for ahead is launched now."""
        trial = self._trials[number]
        if trial.user_attrs.get(LAUNCHED) is False:
            trial.set_user_attr(LAUNCHED, True)

    def report(self, number: int, curve: Sequence[tuple[int, float]]) -> None:
        """Store the learning curve of a running trial so far."""
        self._trials[number].set_user_attr("curve", [list(point) for point in curve])

    def complete(self, number: int, measurement: Measurement) -> None:
        """Store a trial that finished the whole schedule."""
        candidate = self._running[number]
        measured: dict[str, float] = {"accuracy": measurement.accuracy}
        measured |= known_values(candidate.cost)
        attributes = self._attributes(measurement)
        if "latency" in attributes:
            measured["latency"] = attributes["latency"]
        values = self.config.objectives.values(measured)
        self._tell(number, TrialState.COMPLETE, attributes, values)

    def _attributes(self, measurement: Measurement) -> dict[str, Any]:
        """User attributes of a trial that has a result."""
        attributes = measurement.to_attributes()
        if measurement.latency_ratio is not None:
            attributes["latency"] = measurement.latency_ratio * self._control_seconds(measurement)
        return attributes

    def _control_seconds(self, measurement: Measurement) -> float:
        """Seconds of the control network that all latencies of the study are multiples of.

        They are those of the first measurement of all: a machine that is slower later slows the
        network and the control alike, so that only their ratio compares.
        """
        if self.control_seconds is None:
            assert measurement.latency_control is not None
            self.control_seconds = measurement.latency_control
            self.study.set_user_attr(CONTROL_SECONDS, self.control_seconds)
        return self.control_seconds

    def stop(self, number: int, measurement: Measurement) -> None:
        """Store a trial that was stopped early: PRUNED, never on the front."""
        self._tell(number, TrialState.PRUNED, self._attributes(measurement))

    def fail(self, number: int, reason: str) -> None:
        """Store a trial that failed for good; its architecture is not tried again."""
        self.failures[reason] += 1
        self._tell(number, TrialState.FAIL, {"reason": reason})

    def refuse(self, number: int, latency: float) -> None:
        """Store a trial that was not trained: its latency, in seconds, is over the limit."""
        self.exhausted = False  # what is expected of the others may change
        self._tell(number, TrialState.FAIL, {"reason": OVER_LATENCY, "latency": latency})

    def interrupt(self, number: int, *, launched: bool = True) -> None:
        """Give up a running trial through no fault of its own; it is queued again.

        Args:
            number: of the trial.
            launched: False for one that was asked for ahead and never started.
        """
        candidate, trial = self._running[number], self._trials[number]
        self.exhausted = self._used_up = False
        self._enqueue(
            dict(trial.params), {"retry_of": number, "retry_arch": candidate.arch.arch_id}
        )
        with batch_writes(self.study):
            trial.set_user_attr("reason", INTERRUPTED if launched else NEVER_LAUNCHED)
            self.study.tell(trial, state=TrialState.FAIL)
        del self._running[number], self._trials[number]

    def _suggest(self) -> Candidate | None:
        """Ask once; None where the suggestion needs no training or is refused."""
        if self._asking:  # the previous call failed
            self._discard()
        self._asking = True
        try:
            trial = self.study.ask()
            if trial.number > self._next:  # a connection that was cut left one behind
                self._discard(but=trial.number)
            self._next = max(self._next, trial.number + 1)
            with batch_writes(self.study):
                candidate = self._describe(trial)
        except SpaceExhausted:
            self._discard()
            raise
        self._asking = False
        if candidate is not None:
            self._running[trial.number], self._trials[trial.number] = candidate, trial
        return candidate

    def _describe(self, trial: optuna.Trial) -> Candidate | None:
        """Draw the parameters of a new trial, and store its architecture and costs."""
        choices = self.config.space.choices
        if self._joint:
            setting = {choice.name: suggest_value(trial, choice) for choice in choices}
        else:
            setting = suggest(trial, choices)
        arch = self.config.space.decode(setting)
        arch_cost = self.cost(arch)
        trial.set_user_attr("arch_id", arch.arch_id)
        for name, value in known_values(arch_cost).items():
            trial.set_user_attr(name, value)
        if not self.config.limits.admit(arch_cost):
            self._refuse(trial, OVER_LIMIT)
            return None
        if any(running.arch == arch for running in self._running.values()):
            self._refuse(trial, REPEATS_RUNNING)
            return None
        if arch.arch_id in self._outcomes:
            self._repeat(trial, self._outcomes[arch.arch_id])
            return None
        candidate = Candidate(trial.number, arch, arch_cost, self._trial_seed(arch))
        trial.set_user_attr("seed", candidate.seed)
        if self._ahead:
            trial.set_user_attr(LAUNCHED, False)
        # Last: a RUNNING trial that has this attribute was asked for to the end; see `recover`.
        trial.set_user_attr("arch", arch.to_dict())
        return candidate

    def _discard(self, but: int | None = None) -> None:
        """Fail the RUNNING trials, except one, that a failed `ask` left behind."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in self._trials and trial.number != but:
                self._refuse(trial_handle(self.study, trial.number), NEVER_LAUNCHED)

    def _refuse(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _repeat(self, trial: optuna.Trial, known: FrozenTrial) -> None:
        """Give a trial the result that the first trial of its architecture had."""
        self.duplicates += 1
        trial.set_user_attr("duplicate_of", known.number)
        for name in ("arch", "accuracy", "epochs", "curve", "reason"):
            if name in known.user_attrs:
                trial.set_user_attr(name, known.user_attrs[name])
        self.study.tell(trial, known.values, known.state)

    def _tell(
        self,
        number: int,
        state: TrialState,
        attributes: Mapping[str, Any],
        values: Sequence[float] | None = None,
    ) -> None:
        """Store the result of a trial: attributes first, as none can follow its state."""
        trial = self._trials[number]
        with batch_writes(self.study):
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
            frozen = self.study.tell(trial, values, state)
        self._outcomes[self._running[number].arch.arch_id] = frozen
        del self._running[number], self._trials[number]

    def _trial_seed(self, arch: Arch) -> int:
        """The same for the same study seed and architecture, whenever it is trained."""
        digest = hashlib.sha256(f"{self.seed}:{arch.arch_id}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def _enqueue(self, setting: Setting, attributes: dict[str, Any]) -> None:
        self.study.enqueue_trial(dict(setting), user_attrs=attributes)

    def _read(self) -> None:
        """Read which architectures have an outcome."""
        trials = self.study.get_trials(deepcopy=False)
        self._next = len(trials)
        for trial in trials:
            arch_id = trial.user_attrs.get("arch_id")
            final = trial.state in ENDED or (
                trial.state == TrialState.FAIL and trial.user_attrs.get("reason") not in UNCOUNTED
            )
            if final and arch_id and "duplicate_of" not in trial.user_attrs:
                self._outcomes.setdefault(arch_id, trial)
