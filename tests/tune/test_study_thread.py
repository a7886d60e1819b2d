"""The thread that asks ahead: order, budget, failures, and what is left when a search ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
from optuna.trial import TrialState

from nas.samplers import KnownCostSampler
from nas.study.config import StudyConfig
from nas.study.measurement import Measurement
from nas.study.study import Candidate, SearchStudy
from nas.study.trial_state import trial_state
from nas.tune.study_thread import StudyThread

optuna.logging.set_verbosity(optuna.logging.ERROR)
SLOTS = 4


def new_study(config: StudyConfig, budget: int = 40) -> SearchStudy:
    sampler = KnownCostSampler(
        config.space.choices,
        lambda setting: (0.0 + cost_of(config, setting),),
        identity=lambda setting: config.space.decode(setting).arch_id,
    )
    study = optuna.create_study(sampler=sampler, directions=config.objectives.directions)
    return SearchStudy(study, config, budget=budget)


def cost_of(config: StudyConfig, setting: object) -> int:
    probe = SearchStudy(
        optuna.create_study(directions=config.objectives.directions), config, budget=1
    )
    return probe.cost(config.space.decode(setting)).macs  # type: ignore[arg-type]


def complete(study: SearchStudy, candidate: Candidate) -> None:
    shown = 0.5 + 0.4 * int(candidate.arch.arch_id[:4], 16) / 2**16
    study.complete(candidate.number, Measurement(shown, 2, 1.0, [(2, shown)]))


@contextmanager
def running(study: SearchStudy, slots: int) -> Iterator[StudyThread]:
    thread = StudyThread(study, slots)
    try:
        yield thread
    finally:
        thread.close()


def end(thread: StudyThread, study: SearchStudy, candidate: Candidate) -> None:
    thread.do(lambda: complete(study, candidate), ends=True)


def run(study: SearchStudy, slots: int, trials: int, seconds: float = 0.0) -> list[Candidate]:
    """Trials that take `seconds`, in the order of their launch; what then flies is lost."""
    launched: list[Candidate] = []
    flying: list[Candidate] = []
    with running(study, slots) as thread:
        while len(launched) < trials and (candidate := thread.take()) is not None:
            launched.append(candidate)
            flying.append(candidate)
            if len(flying) == slots:
                time.sleep(seconds)
                end(thread, study, flying.pop(0))
    return launched


def test_one_at_a_time_is_what_the_study_gives_by_itself(tiny_config: StudyConfig) -> None:
    ahead = run(new_study(tiny_config), 1, 15)
    alone = new_study(tiny_config)
    for candidate in ahead:
        asked = alone.ask()
        assert asked == candidate
        complete(alone, candidate)


def test_short_trials_are_asked_for_ahead_and_left_over_ones_are_queued(
    tiny_config: StudyConfig,
) -> None:
    study = new_study(tiny_config)
    launched = run(study, SLOTS, 20, 0.005)
    left = study.running.keys() - {candidate.number for candidate in launched}
    assert left  # more than what flies: asked for ahead
    assert len(study.running) <= 2 * SLOTS
    trials = study.study.get_trials()
    assert "queued" in {trial_state(trials[number]) for number in left}
    archs = {study.running[number].arch.arch_id for number in left}
    for number in list(study.running):
        study.interrupt(number, launched=number not in left)
    trials = study.study.get_trials()
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
    assert {trials[number].user_attrs["reason"] for number in left} == {"never_launched"}
    again = SearchStudy(study.study, tiny_config, budget=40)
    assert again.counted == study.counted
    assert again.recover() == 0
    queued = {again.ask().arch.arch_id for _ in range(SLOTS + len(left))}  # type: ignore[union-attr]
    assert archs <= queued


def test_the_budget_is_reached_and_not_exceeded(tiny_config: StudyConfig) -> None:
    study = new_study(tiny_config, budget=12)
    flying: list[Candidate] = []
    with running(study, SLOTS) as thread:
        while True:
            candidate = thread.take()
            if candidate is not None:
                flying.append(candidate)
            elif flying:
                end(thread, study, flying.pop(0))
            else:
                break
    assert study.done
    assert study.counted == 12
    assert len({trial.user_attrs["arch_id"] for trial in study.study.get_trials()
                if trial.state == TrialState.COMPLETE}) == 12  # fmt: skip


def test_what_ends_the_thread_is_raised_where_tune_is(tiny_config: StudyConfig) -> None:
    class Gone(BaseException):
        pass

    def fail() -> None:
        raise Gone

    study = new_study(tiny_config)
    with running(study, SLOTS) as thread:
        assert thread.take() is not None
        thread.do(fail)
        thread._thread.join(10)
        with pytest.raises(Gone):
            thread.check()
        with pytest.raises(Gone):
            thread.take()
        with pytest.raises(Gone):
            thread.do(lambda: None)


def test_the_study_is_used_in_one_thread(
    tiny_config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, seen = new_study(tiny_config), set()
    ask = study.ask

    def watched(**options: bool) -> Candidate | None:
        seen.add(threading.current_thread().name)
        return ask(**options)

    monkeypatch.setattr(study, "ask", watched)
    run(study, SLOTS, 12)
    assert seen == {"study"}
