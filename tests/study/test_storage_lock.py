from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.study.location import find_studies, find_study
from nas.study.storage.engine import (
    StorageError,
    hide_password,
    open_storage,
    parse_storage,
    sqlite_url,
)
from nas.study.storage.lock import StudyLocked, lock_owner, lock_study


@pytest.mark.parametrize(
    "url", ["", "results", "mysql://u:secret@h/db", "sqlite://", "sqlite:///:memory:", "http://x"]
)
def test_other_urls_are_refused_in_one_line(url: str) -> None:
    with pytest.raises(StorageError, match=r"--storage: .*accepted") as error:
        parse_storage(url)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_passwords_are_hidden() -> None:
    shown = hide_password("postgresql+psycopg://user:secret@host/db")
    assert shown == "postgresql+psycopg://user:***@host/db"
    assert "secret" not in hide_password("postgresql+psycopg://host/db?user=u&password=secret")


def test_an_unreachable_server_is_one_line_without_the_password() -> None:
    with pytest.raises(StorageError) as error:
        open_storage("postgresql+psycopg://user:secret@127.0.0.1:1/db")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_sqlite_uses_write_ahead_logging(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "study.db"
    study = optuna.create_study(storage=open_storage(sqlite_url(file), create=True))
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    study.ask()
    before = file.read_bytes()
    study.tell(0, state=TrialState.FAIL)
    assert file.read_bytes() != before  # the log was brought to the disk and into the file


NAMES = ["My%20Drive", "a b", "what?", "a#b", "{x}", "ünïcödé 数据", "%41%%", "a;b&c=d@e:f", "+ +"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_may_hold_any_character(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "study.db"
    url = sqlite_url(file)
    assert parse_storage(url).database == str(file)
    optuna.create_study(storage=open_storage(url, create=True), study_name="s").ask()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    lock_study(url, "s").release()
    (location,) = find_studies(tmp_path, None, None)
    assert location.folder == tmp_path / name
    found = find_study(location.storage, "s")
    assert found is not None
    assert len(found.trials) == 1


def test_a_path_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not UTF-8"):
        sqlite_url(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")) / "study.db")


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """A database of Optuna's own making keeps its bytes, its journal mode, its folder."""
    file = tmp_path / "study.db"
    storage = optuna.storages.RDBStorage(sqlite_url(file))
    optuna.create_study(storage=storage, study_name="s").ask()
    storage.remove_session()
    storage.engine.dispose()
    before = file.read_bytes()
    found = find_study(sqlite_url(file), "s")
    assert found is not None
    assert len(found.trials) == 1
    assert find_study(sqlite_url(file), "other") is None
    assert find_study(sqlite_url(tmp_path / "deep" / "study.db"), "s") is None
    assert find_studies(tmp_path, sqlite_url(file), None)[0].name == "s"
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
def test_a_study_that_was_read_holds_no_connection(tmp_path: Path) -> None:
    """As many studies may be read as there are, whatever a server's limit of connections is."""
    file = tmp_path / "study.db"
    storage = open_storage(sqlite_url(file), create=True)
    optuna.create_study(storage=storage, study_name="s").ask()
    storage.remove_session()
    storage.engine.dispose()
    (location,) = find_studies(tmp_path, sqlite_url(file), None)
    read = [find_study(location.storage, location.name) for _ in range(3)]
    assert [len(study.get_trials()) for study in read if study is not None] == [1, 1, 1]
    links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    assert not [link for link in links if link.startswith(str(file))]


def test_a_file_without_tables_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    file.touch()
    assert find_study(sqlite_url(file), "s") is None
    with pytest.raises(StorageError, match="holds no study"):
        open_storage(sqlite_url(file))
    with pytest.raises(StorageError, match="no such file"):
        open_storage(sqlite_url(tmp_path / "other.db"))
    assert file.stat().st_size == 0
    assert list(tmp_path.iterdir()) == [file]


def test_the_second_owner_is_told_of_the_first(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    assert lock_owner(url, "mine") is None
    lock = lock_study(url, "mine")
    with pytest.raises(StudyLocked, match=f"study mine is in use by process {os.getpid()} on"):
        lock_study(url, "mine")
    owner = lock_owner(url, "mine")
    assert owner is not None
    assert owner.pid == os.getpid()
    lock.release()
    assert lock_owner(url, "mine") is None
    lock.release()
    lock_study(url, "mine").release()


def test_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from nas.study.storage.lock import lock_study\n"
            f"lock = lock_study({url!r}, 'mine')\n"
            "print('held', flush=True)\n"
            "time.sleep(600)\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StudyLocked, match=f"process {holder.pid} on"):
        lock_study(url, "mine")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock_study(url, "mine").release()
