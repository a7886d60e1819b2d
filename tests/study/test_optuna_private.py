"""What is used of Optuna beyond its public names, against its own storage."""

import math
from collections.abc import Iterator
from datetime import datetime

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna_dashboard import save_note

from nas.study.storage import optuna_private
from nas.study.storage.engine import open_storage, sqlite_url
from nas.study.storage.optuna_private import (
    StudyStorage,
    study_storage,
    trial_handle,
    trials_with_notes,
)

KINDS = {
    "word": CategoricalDistribution(("dct", "pointwise")),
    "rate": FloatDistribution(1e-3, 1.0, log=True),
    "depth": IntDistribution(1, 9, step=2),
}


@pytest.fixture
def storage(tmp_path) -> Iterator[StudyStorage]:
    opened = open_storage(sqlite_url(tmp_path / "study.db"), create=True)
    yield opened
    opened.remove_session()
    opened.engine.dispose()


@pytest.fixture
def study(storage: StudyStorage) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name="one", directions=["maximize"] * 2)
    study.set_user_attr("url", [str(storage.engine.url)])
    return study


def by_optuna(study: optuna.Study) -> list[FrozenTrial]:
    (url,) = study.user_attrs["url"]
    return list(optuna.load_study(study_name=study.study_name, storage=RDBStorage(url)).trials)


def add_trials_of_every_kind(study: optuna.Study) -> None:
    params = {"rate": 0.25, "word": "pointwise", "depth": 5}
    for values in ([0.5, 1e6], [math.inf, -math.inf]):
        study.add_trial(create_trial(values=values, params=params, distributions=KINDS))
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED,
            params={"depth": 3},
            distributions={"depth": KINDS["depth"]},
            user_attrs={"curve": [[1, 0.5], [3, 0.75]], "arch": {"stem": 8}},
            system_attrs={"generation": 3},
            intermediate_values={3: 0.75, 1: math.inf, 2: -math.inf},
        )
    )
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"reason": "diverged"}))
    study.enqueue_trial({"depth": 7}, user_attrs={"retry_of": 3})
    waiting = study.ask()
    waiting.set_user_attr("note", "ä")
    study.enqueue_trial({"depth": 9})


def test_reads_what_optuna_reads(study, storage):
    other = optuna.create_study(storage=storage, study_name="other", direction="minimize")
    other.add_trial(create_trial(value=1.0))
    add_trials_of_every_kind(study)
    other.add_trial(create_trial(value=2.0))
    read = by_optuna(study)
    assert len(read) == 6
    assert isinstance(read[0].datetime_start, datetime)
    assert study.get_trials() == read
    assert [storage.get_trial(trial._trial_id) for trial in read] == read
    assert [trial.value for trial in other.get_trials()] == [1.0, 2.0]
    for states in [(TrialState.RUNNING,), (TrialState.COMPLETE, TrialState.FAIL), ()]:
        wanted = [trial for trial in read if trial.state in states]
        assert storage.get_all_trials(study._study_id, states=states) == wanted


def test_a_time_is_read_as_the_instant_that_was_written(study, clock_set_back):
    """Also in the hour that the clock shows twice."""
    ends = [clock_set_back(minutes) for minutes in (-90, -30, 30, 90)]
    for end in ends:
        trial = create_trial(values=[0.0, 0.0])
        trial.datetime_start = trial.datetime_complete = end
        study.add_trial(trial)
    read = [trial.datetime_complete.timestamp() for trial in study.get_trials()]
    assert read == [end.timestamp() for end in ends]


def test_reads_many_trials(study, monkeypatch):
    monkeypatch.setattr(optuna_private, "AT_ONCE", 7)
    for depth in range(20):
        study.add_trial(
            create_trial(
                values=[depth, depth],
                params={"depth": 1 + 2 * (depth % 5)},
                distributions={"depth": KINDS["depth"]},
            )
        )
    assert study.get_trials() == by_optuna(study)


def test_no_study_and_no_trial(storage):
    with pytest.raises(KeyError):
        storage.get_all_trials(7)
    with pytest.raises(KeyError):
        storage.get_trial(7)
    with pytest.raises(KeyError):
        storage.set_trial_user_attr(7, "key", 1)


def test_a_trial_is_written_by_its_number(study, storage):
    other = optuna.create_study(storage=storage, study_name="other", direction="minimize")
    other.ask()
    numbers = [study.ask().number for _ in range(3)]
    trial_handle(study, numbers[1]).set_user_attr("reason", "diverged")
    attributes = [trial.user_attrs for trial in by_optuna(study)]
    assert attributes == [{}, {"reason": "diverged"}, {}]
    assert other.trials[0].user_attrs == {}
    assert study_storage(study).get_study_id_from_name("one") == 1


def test_notes_are_those_of_the_dashboard(study):
    for _ in range(3):
        study.ask()
    save_note(study, "of the study")
    save_note(trial_handle(study, 2), "of a trial")
    assert trials_with_notes(study) == {2}
