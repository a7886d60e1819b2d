"""The scheduler: what the study holds and what Ray delivers are judged alike."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import ray
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from ray import tune

from nas.space.arch import Arch
from nas.stopping.rule import TrialCurve, decide, rungs
from nas.study.config import StudyConfig
from nas.study.measurement import Measurement
from nas.study.objectives import Objectives
from nas.study.storage.engine import open_storage, sqlite_url
from nas.study.study import Candidate, SearchStudy
from nas.training import get_recipe
from nas.tune.scheduler import FrontScheduler
from nas.tune.searcher import StudySearcher

optuna.logging.set_verbosity(optuna.logging.ERROR)

EPOCHS, RUNG = 8, 2
STOP, CONTINUE = "STOP", "CONTINUE"


@pytest.fixture
def config(tiny_config: StudyConfig) -> StudyConfig:
    return replace(tiny_config, recipe=get_recipe("short-cpu", epochs=EPOCHS))


def open_study(folder: Path, config: StudyConfig, budget: int = 30) -> SearchStudy:
    study = optuna.create_study(
        storage=open_storage(sqlite_url(folder / "study.db"), create=True),
        study_name="test",
        directions=config.objectives.directions,
        sampler=RandomSampler(seed=0),
        load_if_exists=True,
    )
    return SearchStudy(study, config, budget=budget)


def accuracy(arch: Arch, macs: int, epoch: int) -> float:
    """Made up: falls with the cost, and each architecture is better or worse at every epoch."""
    own = 0.7 + 0.6 * int(arch.arch_id[:4], 16) / 2**16
    return 1 - min(0.9, 0.3 * own * (1e6 / macs) ** 0.1 * (2 - epoch / EPOCHS))


def losses(candidate: Candidate, epoch: int) -> tuple[float, ...]:
    own = 1 + int(candidate.arch.arch_id[4:8], 16) / 2**16
    return tuple(round(own / e, 5) for e in range(1, epoch + 1))


def result_of(candidate: Candidate, epoch: int) -> dict[str, Any]:
    shown = accuracy(candidate.arch, candidate.cost.macs, epoch)
    return {
        "epochs": epoch, "accuracy": shown, "seconds": float(epoch), "reason": None,
        "losses": list(losses(candidate, epoch)),
    }  # fmt: skip


def as_trial(candidate: Candidate) -> Any:
    """What the scheduler reads of Ray's trial."""
    return SimpleNamespace(config={"arch": candidate.arch.to_json(), "seed": candidate.seed})


def step(scheduler: FrontScheduler, candidate: Candidate, epoch: int, **change: Any) -> str:
    """Deliver a result as Ray does: the last one to `on_trial_complete`."""
    result = result_of(candidate, epoch) | change
    if epoch >= EPOCHS:
        scheduler.on_trial_complete(None, as_trial(candidate), result)
        return CONTINUE
    return scheduler.on_trial_result(None, as_trial(candidate), result)


def complete(study: SearchStudy, candidate: Candidate) -> None:
    curve = [
        (epoch, accuracy(candidate.arch, candidate.cost.macs, epoch)) for epoch in rungs(EPOCHS)
    ]
    kept = Measurement(curve[-1][1], EPOCHS, 1.0, curve, losses(candidate, EPOCHS))
    study.complete(candidate.number, kept)


def ask(study: SearchStudy) -> Candidate:
    candidate = study.ask()
    assert candidate is not None
    return candidate


def run_some(study: SearchStudy, scheduler: FrontScheduler, trials: int) -> list[Candidate]:
    """Train to the end, whatever the scheduler says."""
    candidates = [ask(study) for _ in range(trials)]
    for candidate in candidates:
        for epoch in rungs(EPOCHS):
            step(scheduler, candidate, epoch)
        complete(study, candidate)
    return candidates


def test_decides_as_the_rule_does(tmp_path: Path, config: StudyConfig) -> None:
    study = open_study(tmp_path, config)
    scheduler = FrontScheduler(study, EPOCHS, images=360)
    before = run_some(study, scheduler, 12)
    others = [
        TrialCurve(
            (float(c.cost.macs),),
            {e: accuracy(c.arch, c.cost.macs, e) for e in rungs(EPOCHS)},
            losses(c, EPOCHS),
        )
        for c in before
    ]
    decisions = []
    for value in (0.05, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.99):
        candidate = ask(study)
        trial = TrialCurve((float(candidate.cost.macs),), {RUNG: value}, losses(candidate, RUNG))
        expected = decide(trial, others, EPOCHS, images=360).goes_on
        decisions.append(step(scheduler, candidate, RUNG, accuracy=value))
        assert decisions[-1] == (CONTINUE if expected else STOP)
        others.append(trial)
    assert {STOP, CONTINUE} == set(decisions)


def test_a_search_that_was_started_again_decides_the_same(
    tmp_path: Path, config: StudyConfig
) -> None:
    study = open_study(tmp_path, config)
    scheduler = FrontScheduler(study, EPOCHS, images=360)
    run_some(study, scheduler, 12)
    stopped = ask(study)
    step(scheduler, stopped, 1)
    shown = result_of(stopped, 1)["accuracy"]
    kept = Measurement(shown, 1, 1.0, [(1, shown)], losses(stopped, 1))
    study.stop(stopped.number, kept)
    again = open_study(tmp_path, config)
    restarted = FrontScheduler(again, EPOCHS, images=360)
    assert restarted._curves == scheduler._curves
    candidate = ask(again)
    for value in (0.1, 0.5, 0.7, 0.9):
        assert step(restarted, candidate, RUNG, accuracy=value) == step(
            scheduler, candidate, RUNG, accuracy=value
        )


def test_an_architecture_that_starts_again_is_judged_by_its_new_curve(
    tmp_path: Path, config: StudyConfig
) -> None:
    study = open_study(tmp_path, config)
    scheduler = FrontScheduler(study, EPOCHS, images=360)
    run_some(study, scheduler, 12)
    candidate = ask(study)
    for epoch in (1, 2, 4):
        step(scheduler, candidate, epoch, accuracy=0.99)
    assert step(scheduler, candidate, 1, accuracy=0.02) == STOP


def test_a_failed_trial_is_no_evidence(tmp_path: Path, config: StudyConfig) -> None:
    study = open_study(tmp_path, config)
    scheduler = FrontScheduler(study, EPOCHS, images=360)
    candidate = ask(study)
    failed = {"reason": "diverged", "done": True, "seconds": 1.0}
    scheduler.on_trial_complete(None, as_trial(candidate), failed)
    assert scheduler.on_trial_result(None, as_trial(candidate), failed) == CONTINUE
    assert not scheduler._curves


def test_with_latency_none_is_stopped(tmp_path: Path, config: StudyConfig) -> None:
    config = replace(config, objectives=Objectives(("accuracy", "latency")))
    study = open_study(tmp_path, config)
    scheduler = FrontScheduler(study, EPOCHS, images=360)
    for _ in range(12):
        candidate = ask(study)
        assert [step(scheduler, candidate, e, accuracy=0.9) for e in (1, 2, 4)] == [CONTINUE] * 3
        step(scheduler, candidate, EPOCHS)
    assert step(scheduler, ask(study), RUNG, accuracy=0.01) == CONTINUE


def test_nothing_of_the_study_is_pickled(tmp_path: Path, config: StudyConfig) -> None:
    scheduler = FrontScheduler(open_study(tmp_path, config), EPOCHS, images=360)
    assert b"study.db" not in pickle.dumps(scheduler)


class Quiet:
    """A view that shows nothing."""

    def started(self, candidate: Candidate) -> None: ...

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None: ...

    def ended(self, candidate: Candidate, state: str, detail: str) -> None: ...


class SyntheticStudy(tune.Trainable):  # type: ignore[misc]
    """Trains nothing; reports `accuracy` at each rung."""

    def setup(self, config: dict[str, Any], macs: dict[str, int]) -> None:
        self._macs = macs
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._arch, self._left = Arch.from_json(new_config["arch"]), list(rungs(EPOCHS))
        return True

    def step(self) -> dict[str, Any]:
        epoch = self._left.pop(0)
        shown = accuracy(self._arch, self._macs[self._arch.arch_id], epoch)
        return {
            "epochs": epoch,
            "accuracy": shown,
            "seconds": float(epoch),
            "reason": None,
            "done": not self._left,
        }


@pytest.mark.slow
def test_under_ray_tune(tmp_path: Path, config: StudyConfig) -> None:
    """Stopped trials are PRUNED with their curve; the front is that of no stopping."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests/
    study = open_study(tmp_path, config, budget=30)
    macs = {arch.arch_id: study.cost(arch).macs for arch in config.space.architectures()}
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        searcher = StudySearcher(study, EPOCHS, 2, Quiet())
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(SyntheticStudy, macs=macs), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=FrontScheduler(study, EPOCHS, images=360),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path / "ray"),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        with searcher:
            tuner.fit()
    finally:
        ray.shutdown()
    trials = study.study.get_trials(deepcopy=False)
    states = {trial.state for trial in trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        epochs = [epoch for epoch, _ in trial.user_attrs["curve"]]
        assert tuple(epochs) == rungs(EPOCHS)[: len(epochs)]
        assert (trial.state == TrialState.COMPLETE) == (epochs[-1] == EPOCHS)
