"""PostgreSQL goes away in the middle: waited for, or the search ends cleanly and is continued."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from drivers import Search, ended, one_line
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from servers import Server

from nas.study.config import StudyConfig
from nas.study.measurement import Measurement
from nas.study.storage import retrying
from nas.study.storage.engine import StorageError
from nas.study.storage.lock import lock_owner, lock_study, myself
from nas.study.storage.retrying import StorageGone, open_retrying
from nas.study.study import Candidate, SearchStudy

optuna.logging.set_verbosity(optuna.logging.ERROR)
# Waits, at most so many milliseconds each, until the connections' locks are free too.
CUT = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Driver:
    """A driver's study in this process, with its lock."""

    def __init__(self, url: str, config: StudyConfig) -> None:
        self.url, self.lock, self.stopped = url, lock_study(url, "t"), False
        self.storage = open_retrying(url, self.lock, lambda: self.stopped)
        study = optuna.create_study(
            storage=self.storage,
            study_name="t",
            directions=config.objectives.directions,
            sampler=RandomSampler(seed=0),
            load_if_exists=True,
        )
        for key, value in config.to_attributes().items():
            study.set_user_attr(key, value)
        self.storage.claim("t", str(myself()))
        self.study = SearchStudy(study, config, budget=20)

    def ask(self) -> Candidate:
        candidate = self.study.ask()
        assert candidate is not None
        return candidate

    def complete(self, candidate: Candidate) -> None:
        self.study.complete(candidate.number, Measurement(0.5, 2, 1.0, ((2, 0.5),)))

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.study.study.get_trials()]


@pytest.fixture
def driver(server: Server, tiny_config: StudyConfig, request: pytest.FixtureRequest) -> Any:
    name = "".join(c for c in request.node.name.lower() if c.isalnum())[:40]
    driver = Driver(server.new_database(name), tiny_config)
    yield driver
    driver.lock.release()
    driver.storage.engine.dispose()


def test_a_restart_is_waited_for(
    driver: Driver, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = driver.ask()
    server.stop()
    back = threading.Timer(1.0, server.start)
    back.start()
    driver.complete(candidate)
    back.join()
    assert driver.states() == [TrialState.COMPLETE]
    owner = lock_owner(driver.url, "t")
    assert owner is not None
    assert owner.pid == myself().pid


def test_cut_connections_cost_nothing(driver: Driver, server: Server) -> None:
    for _ in range(3):
        candidate = driver.ask()
        server.sql(CUT)
        driver.complete(candidate)
        server.sql(CUT)
    assert driver.states() == [TrialState.COMPLETE] * 3
    assert driver.study.counted == 3


def test_a_server_that_has_not_noticed_the_cut_is_waited_for(
    driver: Driver,
) -> None:
    """As behind a firewall that forgets: the old connection holds the lock until it is noticed."""
    candidate = driver.ask()
    lock = driver.lock
    half_open, lock._connection = lock._connection, sqlalchemy.create_engine("sqlite://").connect()
    with pytest.raises(StorageError, match="still holds the lock for a connection that was cut"):
        lock.keep()
    noticed = threading.Timer(1.0, half_open.close)
    noticed.start()
    lock._connection = sqlalchemy.create_engine("sqlite://").connect()
    driver.complete(candidate)
    noticed.join()
    assert driver.states() == [TrialState.COMPLETE]


def test_a_driver_that_lost_its_lock_to_another_stops(driver: Driver, server: Server) -> None:
    candidate = driver.ask()
    server.sql(CUT)
    other = lock_study(driver.url, "t")
    try:
        with pytest.raises(StorageGone, match=f"in use by process {myself().pid} on"):
            driver.complete(candidate)
    finally:
        other.release()
    assert driver.states() == [TrialState.RUNNING]


def test_a_driver_stops_if_another_one_came_and_went(driver: Driver, server: Server) -> None:
    candidate = driver.ask()
    server.sql(CUT)
    other = Driver(driver.url, driver.study.config)
    other.storage.claim("t", "another process")
    assert other.study.recover() == 1
    other.lock.release()
    with pytest.raises(StorageGone, match="another driver worked on the study"):
        driver.complete(candidate)
    assert other.states() == [TrialState.FAIL, TrialState.WAITING]


def test_trials_are_those_that_optuna_reads(driver: Driver) -> None:
    driver.complete(driver.ask())
    driver.study.fail(driver.ask().number, "diverged")
    asked = driver.ask()
    driver.study.report(asked.number, [(1, 0.25)])
    driver.study.report(asked.number, [(1, 0.25), (2, 0.5)])
    found = driver.study.study.get_trials()
    other = optuna.load_study(study_name="t", storage=optuna.storages.RDBStorage(driver.url))
    assert found == other.get_trials()
    assert found[-1].user_attrs["curve"] == [[1, 0.25], [2, 0.5]]
    assert found[-1].user_attrs["arch_id"] == asked.arch.arch_id


@pytest.mark.parametrize("why", ["patience", "signal"])
def test_waiting_ends(driver: Driver, server: Server, why: str) -> None:
    candidate = driver.ask()
    driver.storage.patience = 1.0 if why == "patience" else 600.0
    stop = threading.Timer(1.0, lambda: setattr(driver, "stopped", why == "signal"))
    server.stop()
    stop.start()
    try:
        with pytest.raises(StorageGone, match="away") as gone:
            driver.complete(candidate)
        assert server.password not in str(gone.value)
        assert "\n" not in str(gone.value)
    finally:
        server.start()
    stop.join()
    assert driver.states() == [TrialState.RUNNING]


def test_a_wrong_password_is_one_line(make_search: Callable[..., Search], server: Server) -> None:
    wrong = server.url.replace(server.password, "hunter2")
    done = make_search(storage=wrong).run()
    assert done.returncode == 2
    assert "password authentication failed" in one_line(done.stderr)
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2))
def test_a_search_rides_out_20_seconds(
    make_search: Callable[..., Search], record: Callable[..., None], server: Server, seed: int
) -> None:
    search = make_search(storage=server.new_database(f"away{seed}"))
    driver = search.start()
    search.wait_until(lambda: search.finished() >= 8 + 12 * seed, driver)
    assert driver.poll() is None
    server.stop()
    try:
        time.sleep(20)
    finally:
        server.start()
    done = ended(driver)
    assert done.returncode == 0, done.stderr
    assert "the database is away" in done.stderr
    assert "the database is back" in done.stderr
    search.assert_true()
    states = [trial.state for trial in search.trials()]
    record(seconds_away=20, failed=states.count(TrialState.FAIL))


@pytest.mark.faults
def test_past_the_limit_a_search_stops_and_is_continued(
    make_search: Callable[..., Search], record: Callable[..., None], server: Server, tmp_path: Path
) -> None:
    search = make_search(storage=server.new_database("gone"))
    # The same program with less patience.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'runners/search.py' in ' '.join(sys.orig_argv):\n"
        "    import nas.study.storage.retrying\n"
        "    nas.study.storage.retrying.PATIENCE = 5.0\n"
    )
    search.environment = {"PYTHONPATH": str(tmp_path)}
    assert retrying.PATIENCE > 60
    driver = search.start()
    search.wait_until(lambda: search.finished() >= 5, driver)
    server.stop()
    done = ended(driver)
    server.start()
    assert done.returncode == 1
    assert "the study database was away for" in one_line(done.stderr)
    assert server.password not in done.stdout + done.stderr
    search.environment = {}
    done = search.run()
    assert done.returncode == 0, done.stderr
    search.assert_true()
    record()


@pytest.mark.faults
def test_the_password_is_nowhere(
    make_search: Callable[..., Search], record: Callable[..., None], server: Server, tmp_path: Path
) -> None:
    """Given on the command line, where it is hidden at once."""
    search = make_search(budget=12)
    search.options += ("--storage", server.new_database("secret"))
    temporary = Path(tempfile.mkdtemp(prefix="nas-"))  # short: Ray's sockets are in it
    search.environment = {"TMPDIR": str(temporary)}
    driver = search.start()
    seen, commands = False, ""
    while driver.poll() is None:
        for _, words in search.processes():
            commands += words + "\n"
            seen |= "ray::" in words
        time.sleep(0.5)
    done = ended(driver)
    assert done.returncode == 0, done.stderr
    assert seen
    # Before the first statement of the program nobody can hide it.
    commands = "\n".join(line for line in commands.splitlines() if "search.py" not in line)
    assert server.password not in commands + done.stdout + done.stderr
    files = 0
    for folder in (tmp_path, temporary):
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if file.is_file():
                    files += 1
                    assert server.password.encode() not in file.read_bytes(), file
    shutil.rmtree(temporary)
    assert files > 50
    record(files_searched=files)
