from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from nas.cli.option_values import parse_failures
from nas.data import SplitRecord
from nas.space.limits import Limits
from nas.study.choose_sampler import SAMPLERS, choose_sampler
from nas.study.config import StudyConfig, stored_config
from nas.study.front import LIKELY, finished_trials, front, measured_front
from nas.study.measurement import Measurement
from nas.study.storage.engine import open_storage, sqlite_url
from nas.study.storage.optuna_private import StudyStorage
from nas.study.study import Candidate, SearchStudy
from nas.study.trial_state import trial_state

optuna.logging.set_verbosity(optuna.logging.ERROR)


def measured(candidate: Candidate, epochs: int = 2) -> Measurement:
    """A synthetic result that depends on the architecture alone."""
    accuracy = 0.5 + int(candidate.arch.arch_id[:4], 16) / 2**17
    return Measurement(accuracy, epochs, 1.0, ((1, 0.3), (epochs, accuracy)))


class Driver:
    """Opens the same study again and again, as processes do one after another."""

    def __init__(self, folder: Path, config: StudyConfig) -> None:
        self.url, self.config = sqlite_url(folder / "study.db"), config

    def open(
        self, budget: int, sampler: BaseSampler | None = None, joint: bool = False
    ) -> SearchStudy:
        study = optuna.create_study(
            storage=open_storage(self.url, create=True),
            study_name="test",
            directions=self.config.objectives.directions,
            sampler=sampler or RandomSampler(seed=0),
            load_if_exists=True,
        )
        if stored_config(study) is None:
            for key, value in self.config.to_attributes().items():
                study.set_user_attr(key, value)
        opened = SearchStudy(study, self.config, budget=budget, joint=joint)
        opened.recover()
        return opened


@pytest.fixture
def driver(tmp_path: Path, tiny_config: StudyConfig) -> Driver:
    return Driver(tmp_path, tiny_config)


def finish(study: SearchStudy) -> list[str]:
    """Complete everything that the study asks for; the arch_ids in order."""
    ids = []
    while (candidate := study.ask()) is not None:
        ids.append(candidate.arch.arch_id)
        study.complete(candidate.number, measured(candidate))
    return ids


def states(study: SearchStudy) -> list[TrialState]:
    return [trial.state for trial in study.study.get_trials()]


class Stuck(RandomSampler):
    """Suggests the same setting for ever."""

    def sample_independent(self, study, trial, name, distribution):  # type: ignore[no-untyped-def]
        return getattr(distribution, "low", None) or distribution.choices[0]


@pytest.mark.parametrize("name", SAMPLERS)
def test_budget_is_exact_and_counts_distinct_architectures(driver: Driver, name: str) -> None:
    chosen = choose_sampler(name, driver.config, 0, 0, None)
    study = driver.open(14, chosen.sampler, chosen.joint)
    ids = finish(study)
    assert len(ids) == len(set(ids)) == study.counted == 14
    assert study.done
    assert TrialState.RUNNING not in states(study)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_suggests_only_parameters_with_effect_unless_joint(
    driver: Driver, name: str
) -> None:
    chosen = choose_sampler(name, driver.config, 0, 0, None)
    study = driver.open(12, chosen.sampler, chosen.joint)
    finish(study)
    for trial in finished_trials(study.study):
        for stage in ("stage1", "stage2"):
            has_r = f"{stage}.r" in trial.params
            assert has_r == (chosen.joint or trial.params[f"{stage}.expansion"] == "dct")


def test_same_seed_gives_the_same_architectures(tmp_path: Path, tiny_config: StudyConfig) -> None:
    sequences = []
    for attempt, images in (("a", 400), ("b", 400), ("c", None)):
        sampler = choose_sampler("known-cost", tiny_config, 7, 0, images).sampler
        sequences.append(finish(Driver(tmp_path / attempt, tiny_config).open(20, sampler)))
    assert sequences[0] == sequences[1] != sequences[2]


def test_a_repeated_architecture_is_told_again_and_does_not_count(driver: Driver) -> None:
    study = driver.open(3, Stuck(seed=0))
    ids = finish(study)
    assert len(set(ids)) == 3
    repeats = [t for t in study.study.get_trials() if "duplicate_of" in t.user_attrs]
    assert len(repeats) == study.duplicates >= 20
    original = study.study.get_trials()[repeats[0].user_attrs["duplicate_of"]]
    assert repeats[0].values == original.values
    assert repeats[0].state == TrialState.COMPLETE
    assert len(finished_trials(study.study)) == 3


def test_repeats_of_stopped_and_failed_trials_keep_their_state(driver: Driver) -> None:
    study = driver.open(3, Stuck(seed=0))
    first = study.ask()
    assert first is not None
    study.stop(first.number, measured(first, epochs=1))
    second = study.ask()
    assert second is not None
    repeat = next(t for t in study.study.get_trials() if "duplicate_of" in t.user_attrs)
    assert repeat.state == TrialState.PRUNED
    assert repeat.user_attrs["curve"] == [[1, 0.3], [1, measured(first).accuracy]]


def test_a_running_architecture_is_not_started_twice(driver: Driver) -> None:
    study = driver.open(4, Stuck(seed=0))
    running = [study.ask() for _ in range(4)]
    assert len({c.arch.arch_id for c in running if c is not None}) == 4
    assert study.ask() is None
    assert not study.done
    refused = [t for t in study.study.get_trials() if t.state == TrialState.FAIL]
    assert {t.user_attrs["reason"] for t in refused} == {"repeats_running"}
    assert study.failures.total() == 0


def test_a_failed_trial_is_replaced_and_never_tried_again(driver: Driver) -> None:
    study = driver.open(10)
    failed = study.ask()
    assert failed is not None
    study.fail(failed.number, "diverged")
    ids = finish(study)
    assert failed.arch.arch_id not in ids
    assert study.counted == 10
    assert study.failures == {"diverged": 1}


def test_limits_are_never_exceeded(tmp_path: Path, tiny_config: StudyConfig) -> None:
    costs = sorted(
        SearchStudy.cost(_Sized(tiny_config), arch).macs
        for arch in tiny_config.space.architectures()
    )
    config = replace(tiny_config, limits=Limits(max_macs=costs[60]))
    study = Driver(tmp_path, config).open(8)
    finish(study)
    trials = finished_trials(study.study)
    assert len(trials) == 8
    assert all(trial.user_attrs["macs"] <= costs[60] for trial in trials)


class _Sized(SearchStudy):
    def __init__(self, config: StudyConfig) -> None:
        self.config = config


def test_exhausted_space_ends_with_every_architecture_once(
    tmp_path: Path, tiny_config: StudyConfig
) -> None:
    costs = sorted(_Sized(tiny_config).cost(a).macs for a in tiny_config.space.architectures())
    config = replace(tiny_config, limits=Limits(max_macs=costs[7]))
    fitting = sum(cost <= costs[7] for cost in costs)
    study = Driver(tmp_path, config).open(100)
    assert len(finish(study)) == fitting
    assert study.exhausted
    assert study.done
    assert not study.study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


def test_trials_of_a_dead_driver_are_queued_again_first(driver: Driver) -> None:
    before = driver.open(10)
    done, *lost = (before.ask() for _ in range(4))
    assert done is not None
    before.complete(done.number, measured(done))
    after = driver.open(10)
    assert after.counted == 1
    assert TrialState.RUNNING not in states(after)
    retried = [after.ask() for _ in range(3)]
    assert [c.arch for c in retried if c] == [c.arch for c in lost if c]
    trials = after.study.get_trials()
    for old, new in zip(lost, retried, strict=True):
        assert old is not None
        assert new is not None
        assert trials[old.number].state == TrialState.FAIL
        assert trials[old.number].user_attrs["reason"] == "interrupted"
        assert trials[new.number].user_attrs["retry_of"] == old.number
        assert new.seed == old.seed


def test_opening_again_and_again_queues_nothing_twice(driver: Driver) -> None:
    driver.open(10).ask()
    for _ in range(3):
        study = driver.open(10)
    waiting = [t for t in study.study.get_trials() if t.state == TrialState.WAITING]
    assert len(waiting) == 1
    assert len(set(finish(study))) == 10


def test_a_retry_that_died_before_its_launch_is_queued_again(driver: Driver) -> None:
    lost = driver.open(5).ask()
    study = driver.open(5)
    study.study.ask()  # takes the queued trial, and dies before it has an architecture
    again = driver.open(5)
    retried = again.ask()
    assert lost is not None
    assert retried is not None
    assert retried.arch == lost.arch


def test_a_trial_that_was_asked_for_ahead_waits_until_it_is_launched(driver: Driver) -> None:
    study = driver.open(5)
    asked = [study.ask(), study.ask(ahead=True), study.ask(ahead=True)]
    numbers = [candidate.number for candidate in asked if candidate is not None]
    states = [trial_state(trial) for trial in study.study.get_trials()]
    assert states == ["running", "queued", "queued"]
    study.launch(numbers[0])
    study.launch(numbers[1])
    states = [trial_state(trial) for trial in study.study.get_trials()]
    assert states == ["running", "running", "queued"]
    again = driver.open(5)  # the driver died
    trials = again.study.get_trials()
    reasons = [trials[number].user_attrs["reason"] for number in numbers]
    assert reasons == ["interrupted", "interrupted", "never_launched"]
    waiting = [t for t in trials if t.state == TrialState.WAITING]
    assert {t.user_attrs["retry_of"] for t in waiting} == set(numbers)


def test_a_trial_without_architecture_was_never_launched(driver: Driver) -> None:
    study = driver.open(5)
    study.study.ask()
    again = driver.open(5)
    assert again.study.get_trials()[0].user_attrs["reason"] == "never_launched"
    assert not [t for t in again.study.get_trials() if t.state == TrialState.WAITING]


def test_interrupting_a_running_trial_queues_it(driver: Driver) -> None:
    study = driver.open(5)
    candidate = study.ask()
    assert candidate is not None
    study.interrupt(candidate.number)
    assert not study.running
    retried = study.ask()
    assert retried is not None
    assert retried.arch == candidate.arch


def test_stopped_trials_are_never_on_the_front(driver: Driver) -> None:
    study = driver.open(12)
    while (candidate := study.ask()) is not None:
        if candidate.number % 2:
            study.stop(candidate.number, replace(measured(candidate), accuracy=1.0, epochs=1))
        else:
            study.complete(candidate.number, measured(candidate))
    members = front(study.study, study.config)
    assert members
    assert all(member.trial.state == TrialState.COMPLETE for member in members)


def test_front_holds_the_non_dominated_set(driver: Driver) -> None:
    study = driver.open(40)
    finish(study)
    points = [(t.values[1], -t.values[0]) for t in finished_trials(study.study)]
    naive = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    measured = measured_front(study.study.get_trials(), study.config.objectives)
    assert {(m.trial.values[1], -m.trial.values[0]) for m in measured} == naive
    members = front(study.study, study.config)
    numbers = {member.trial.number for member in measured}
    assert numbers <= {member.trial.number for member in members}
    for member in members:
        assert member.estimate is not None
        assert member.trial.number in numbers or member.estimate.on_front >= LIKELY
    macs = [m.attributes["macs"] for m in members]
    assert macs == sorted(macs)


@pytest.mark.parametrize(
    ("text", "budget", "limit"),
    [("10", 40, 10), ("0", 40, 0), ("20%", 40, 8), ("0.2", 40, 8), (".5", 5, 2), ("100%", 3, 3)],
)
def test_failures_are_limited_by_a_number_or_a_share(text: str, budget: int, limit: int) -> None:
    assert parse_failures(text, budget) == limit


def test_a_creator_that_died_half_way_leaves_a_study_that_goes_on(driver: Driver) -> None:
    study = optuna.create_study(
        storage=open_storage(driver.url, create=True),
        study_name="test",
        directions=driver.config.objectives.directions,
    )
    for key in ("space_name", "space"):
        study.set_user_attr(key, driver.config.to_attributes()[key])
    assert stored_config(study) is None
    finish(driver.open(3))
    assert stored_config(study) is not None


def test_what_a_cut_connection_left_behind_is_failed_at_the_next_ask(driver: Driver) -> None:
    study = driver.open(3)
    orphan = study.study.ask()  # created, and the answer was lost
    assert study.ask() is not None
    trials = study.study.get_trials()
    assert trials[orphan.number].user_attrs["reason"] == "never_launched"
    assert [t.state for t in trials].count(TrialState.RUNNING) == 1


class _FailsOnce(RandomSampler):
    """Raises in the middle of the first trial's parameters."""

    asked = 0

    def sample_independent(self, *args: Any) -> Any:
        self.asked += 1
        if self.asked == 2:
            raise RuntimeError("once")
        return super().sample_independent(*args)


def test_a_trial_of_an_ask_that_failed_is_failed_at_the_next_ask(driver: Driver) -> None:
    study = driver.open(3, _FailsOnce(seed=0))
    with pytest.raises(RuntimeError, match="once"):
        study.ask()
    assert not study.running
    assert study.ask() is not None
    assert states(study) == [TrialState.FAIL, TrialState.RUNNING]
    assert len(finish(study)) == 2


def test_a_candidate_that_could_not_be_written_is_not_running(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(driver.open(1))
    study = driver.open(3)

    def fail(storage: StudyStorage, trial_id: int, key: str, value: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(StudyStorage, "set_trial_user_attr", fail)
        with pytest.raises(OSError, match="no space left"):
            study.ask()
    assert not study.running
    assert len(finish(study)) == 2
    assert states(study).count(TrialState.FAIL) == 1


def test_config_round_trip(tiny_config: StudyConfig) -> None:
    attributes = tiny_config.to_attributes()
    again = StudyConfig.from_attributes(attributes, "test")
    assert again.to_attributes() == attributes
    splits = SplitRecord(1000, 437, 360, None)
    attributes = replace(tiny_config, splits=splits).to_attributes()
    assert StudyConfig.from_attributes(attributes, "test").splits == splits


def test_opening_a_study_writes_nothing(tmp_path: Path, tiny_config: StudyConfig) -> None:
    driver = Driver(tmp_path, tiny_config)
    driver.open(5).ask()
    study = optuna.load_study(study_name="test", storage=open_storage(driver.url))
    before = [(trial.state, trial.user_attrs) for trial in study.get_trials()]
    opened = SearchStudy(study, tiny_config, budget=5)
    assert [(trial.state, trial.user_attrs) for trial in study.get_trials()] == before
    assert opened.recover() == 1
    assert opened.recover() == 0
