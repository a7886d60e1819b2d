from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from nas.study.storage.engine import (
    StorageError,
    hide_password,
    make_durable,
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
    storage = open_storage(sqlite_url(tmp_path / "deep" / "study.db"))
    study = optuna.create_study(storage=storage)
    study.set_user_attr("a", 1)
    make_durable(study._storage)
    with sqlite3.connect(tmp_path / "deep" / "study.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


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
