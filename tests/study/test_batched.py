"""Reading and writing of trials, against Optuna's own storage on the same database."""

import math
from collections.abc import Iterator
from datetime import datetime

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.study.storage import batched
from nas.study.storage.batched import StudyStorage
from nas.study.storage.engine import open_storage, sqlite_url

KINDS = {
    "word": CategoricalDistribution(("dct", "pointwise")),
    "rate": FloatDistribution(1e-3, 1.0, log=True),
    "depth": IntDistribution(1, 9, step=2),
}


@pytest.fixture
def storage(tmp_path) -> Iterator[StudyStorage]:
    opened = open_storage(sqlite_url(tmp_path / "study.db"))
    yield opened
    opened.remove_session()
    opened.engine.dispose()


@pytest.fixture
def study(storage: StudyStorage) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name="one", directions=["maximize"] * 2)


def by_optuna(study: optuna.Study) -> list[FrozenTrial]:
    url = str(study._storage._backend.url)
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


def test_reads_many_trials(study, monkeypatch):
    monkeypatch.setattr(batched, "AT_ONCE", 7)
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


@pytest.fixture
def writes(storage: StudyStorage) -> list[str]:
    """INSERT of a statement and COMMIT of its transaction, in their order."""
    seen: list[str] = []

    def executed(connection, cursor, statement, *_) -> None:
        if statement.startswith("INSERT"):
            seen.append("INSERT")

    def committed(connection) -> None:
        if seen and seen[-1] != "COMMIT":  # not of a transaction that only read
            seen.append("COMMIT")

    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", executed)
    sqlalchemy.event.listen(storage.engine, "commit", committed)
    return seen


def test_what_is_written_together_is_one_transaction(study, storage, writes):
    first, trial = study.ask(KINDS), study.ask()
    writes.clear()
    with storage.batch_writes():
        for name, kind in KINDS.items():
            trial._suggest(name, kind)
        trial.set_user_attr("macs", 1)
        trial.set_user_attr("macs", 2)
        assert by_optuna(study)[trial.number].params == {}
        assert writes == []
    assert writes == ["INSERT", "INSERT", "COMMIT"]
    assert by_optuna(study)[trial.number].params == trial.params
    assert by_optuna(study)[trial.number].user_attrs == {"macs": 2}
    assert by_optuna(study)[first.number].params == first.params


def test_what_is_held_is_written_before_a_trial_ends(study, storage):
    trial = study.ask()
    with storage.batch_writes():
        trial.set_user_attr("reason", "diverged")
        study.tell(trial, state=TrialState.FAIL)
    assert by_optuna(study)[0].state == TrialState.FAIL
    assert by_optuna(study)[0].user_attrs == {"reason": "diverged"}


def test_nothing_is_written_after_an_exception(study, storage):
    trial = study.ask()

    def interrupted() -> None:
        with storage.batch_writes():
            trial.set_user_attr("macs", 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    trial.set_user_attr("params", 2)
    assert by_optuna(study)[0].user_attrs == {"params": 2}


def test_a_trial_that_has_ended_is_not_written(study, storage):
    trial, ended = study.ask(KINDS), study.ask()
    study.tell(ended, state=TrialState.FAIL)

    def both() -> None:
        with storage.batch_writes():
            trial.set_user_attr("macs", 1)
            ended.set_user_attr("macs", 1)

    with pytest.raises(UpdateFinishedTrialError):
        both()
    with pytest.raises(UpdateFinishedTrialError):
        ended.suggest_int("depth", 1, 9, step=2)
    assert [trial.user_attrs for trial in by_optuna(study)] == [{}, {}]
    assert by_optuna(study)[1].params == {}


def test_another_kind_of_parameter_is_refused(study):
    study.ask(KINDS)
    trial = study.ask()
    with pytest.raises(ValueError, match="different distribution kind"):
        trial.suggest_int("word", 0, 1)
    assert by_optuna(study)[1].params == {}


def test_writing_again_changes_nothing(study, storage):
    trial = study.ask(KINDS)
    written = by_optuna(study)[0]
    internal = KINDS["depth"].to_internal_repr(trial.params["depth"])
    storage._set_trial_param(trial._trial_id, "depth", internal, KINDS["depth"], KINDS["depth"])
    assert by_optuna(study)[0] == written
