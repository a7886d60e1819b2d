"""What a driver writes of a trial at one moment: one transaction, all of it or nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from nas.study.storage import retrying
from nas.study.storage.engine import sqlite_url
from nas.study.storage.lock import lock_study
from nas.study.storage.retrying import RetryingStorage, StorageGone, batch_writes, open_retrying


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    url = sqlite_url(tmp_path / "study.db")
    lock = lock_study(url, "t")
    storage = open_retrying(url, lock, lambda: False)
    yield optuna.create_study(storage=storage, study_name="t", directions=["maximize"] * 2)
    storage.remove_session()
    storage.engine.dispose()
    lock.release()


def commits(study: optuna.Study) -> list[object]:
    """Gets an entry for each transaction that writes and is committed from now on."""
    seen: list[object] = []
    written: list[str] = []

    def execute(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if not statement.startswith(("SELECT", "PRAGMA")):
            written.append(statement)

    def commit(connection: object) -> None:
        if written:
            seen.append(list(written))
        written.clear()

    sqlalchemy.event.listen(engine_of(study), "before_cursor_execute", execute)
    sqlalchemy.event.listen(engine_of(study), "commit", commit)
    return seen


def engine_of(study: optuna.Study) -> sqlalchemy.Engine:
    storage = study._storage
    assert isinstance(storage, RetryingStorage)
    return storage.engine


def by_another(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(engine_of(study).url.render_as_string())
    trials = optuna.load_study(study_name="t", storage=storage).trials
    storage.engine.dispose()
    return list(trials)


def test_a_batch_is_one_transaction_and_nothing_is_seen_before(study: optuna.Study) -> None:
    trial = study.ask()
    seen = commits(study)
    with batch_writes(study):
        for name in ("a", "b", "c"):
            assert trial.suggest_int(name, 1, 3) in (1, 2, 3)
            trial.set_user_attr(name, [name])
        assert by_another(study)[0].params == {}
        assert seen == []
    assert len(seen) == 1
    (written,) = by_another(study)
    assert written.params == trial.params
    assert written.user_attrs == {"a": ["a"], "b": ["b"], "c": ["c"]}


def test_attributes_and_state_go_together(study: optuna.Study) -> None:
    trial = study.ask()
    seen = commits(study)
    with batch_writes(study):
        trial.set_user_attr("accuracy", 0.5)
        study.tell(trial, [0.5, 1.0])
        assert by_another(study)[0].state == TrialState.COMPLETE
    assert len(seen) == 1
    (written,) = by_another(study)
    assert written.values == [0.5, 1.0]
    assert written.user_attrs == {"accuracy": 0.5}
    with pytest.raises(StorageGone, match="another process ended"), batch_writes(study):
        trial.set_user_attr("late", 1)


def test_an_exception_discards_a_batch(study: optuna.Study) -> None:
    trial = study.ask()

    def interrupted() -> None:
        with batch_writes(study):
            trial.set_user_attr("a", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert by_another(study)[0].user_attrs == {}
    trial.set_user_attr("b", 2)  # at once again
    assert by_another(study)[0].user_attrs == {"b": 2}


def test_a_refused_write_takes_the_whole_batch_with_it(study: optuna.Study) -> None:
    """A parameter that another process wrote meanwhile: Optuna would go on without a word."""
    trial = study.ask()
    other = optuna.storages.RDBStorage(engine_of(study).url.render_as_string())
    other.set_trial_param(1, "a", 2, IntDistribution(1, 3))

    def ask() -> None:
        with batch_writes(study):
            trial.set_user_attr("first", 1)
            trial.suggest_int("a", 1, 3)

    with pytest.raises(StorageGone, match="there already"):
        ask()
    (written,) = by_another(study)
    assert written.params == {"a": 2}
    assert written.user_attrs == {}
    other.engine.dispose()


@pytest.mark.parametrize("told", [False, True])
def test_a_cut_after_the_commit_is_repeated_without_harm(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """The server carried the transaction out, and its answer was lost."""
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.01)
    trial = study.ask()
    storage = study._storage
    assert isinstance(storage, RetryingStorage)
    write, cut = storage._write_held, []

    def lose_the_answer(again: bool, *change: object) -> bool:
        done = write(again, *change)  # type: ignore[arg-type]
        if not cut:
            cut.append(again)
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("cut"))
        return done

    monkeypatch.setattr(storage, "_write_held", lose_the_answer)
    monkeypatch.setattr(storage, "_require_passing", lambda error, away: None)
    with batch_writes(study):
        trial.suggest_int("a", 1, 3)
        trial.set_user_attr("accuracy", 0.5)
        if told:
            study.tell(trial, [0.5, 1.0])
    assert cut == [False]
    (written,) = by_another(study)
    assert written.params == trial.params
    assert written.user_attrs == {"accuracy": 0.5}
    assert written.state == (TrialState.COMPLETE if told else TrialState.RUNNING)


DRIVER = """
import sys
import optuna
from nas.study.storage.lock import lock_study
from nas.study.storage.retrying import batch_writes, open_retrying
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = open_retrying(sys.argv[1], lock_study(sys.argv[1], "t"), lambda: False)
study = optuna.create_study(storage=storage, study_name="t", directions=["maximize"] * 2)
print("up", flush=True)
while True:
    trial = study.ask()
    with batch_writes(study):
        for name in "abcdef":
            trial.suggest_int(name, 1, 3)
            trial.set_user_attr(name, 1)
    with batch_writes(study):
        for name in "ghi":
            trial.set_user_attr(name, 1)
        study.tell(trial, [0.5, 1.0])
"""


@pytest.mark.parametrize("seconds", [0.05, 0.3])
def test_a_killed_driver_leaves_whole_batches(tmp_path: Path, seconds: float) -> None:
    file = tmp_path / "study.db"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, sqlite_url(file)], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "up\n"
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(seconds)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    storage = optuna.storages.RDBStorage(sqlite_url(file))
    trials = optuna.load_study(study_name="t", storage=storage).trials
    storage.engine.dispose()
    for trial in trials:
        asked, told = set("abcdef"), set("abcdefghi")
        if trial.state == TrialState.COMPLETE:
            assert trial.user_attrs.keys() == told
            assert trial.params.keys() == asked
        else:
            assert trial.user_attrs.keys() == trial.params.keys()
            assert trial.user_attrs.keys() in (set(), asked)
