"""One driver per study: a lock that dies with the process that holds it."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Protocol

import filelock
import sqlalchemy
from sqlalchemy.engine import URL

from nas.search.storage import StorageError, parse_storage


class StudyLocked(RuntimeError):
    """Another process works on the study; the message names it."""


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""

    def held(self) -> bool:
        """Whether this process still holds the lock."""


def lock_study(url: str, name: str) -> Lock:
    """Take the lock of a study without waiting.

    SQLite: a lock on a file beside the database, released by the system when the
    process ends, however it ends. PostgreSQL: an advisory lock of a connection.

    Raises:
        StudyLocked: another process holds it; host, process and start time are named.
        StorageError: the lock cannot be taken for another reason.
    """
    parsed = parse_storage(url)
    if parsed.get_backend_name() == "sqlite":
        return _FileLock(Path(str(parsed.database)).with_suffix(".lock"), name)
    return _AdvisoryLock(parsed, name)


def _owner() -> dict[str, str | int]:
    started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": started}


def _locked(name: str, owner: str) -> StudyLocked:
    return StudyLocked(f"study {name} is in use by {owner}; wait for it or stop it")


class _FileLock:
    def __init__(self, path: Path, name: str) -> None:
        self._owner_file = path.with_suffix(".owner")
        self._lock = filelock.FileLock(path, timeout=0)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise _locked(name, self._read_owner()) from None
        except OSError as error:
            raise StorageError(f"{path}: cannot be locked ({error.strerror})") from None
        with contextlib.suppress(OSError):  # the owner's name is a courtesy; the lock is held
            self._owner_file.write_text(json.dumps(_owner()))

    def _read_owner(self) -> str:
        try:
            owner = json.loads(self._owner_file.read_text())
            return f"process {owner['pid']} on {owner['host']} since {owner['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def held(self) -> bool:
        return self._lock.is_locked

    def release(self) -> None:
        if self._lock.is_locked:
            self._owner_file.unlink(missing_ok=True)
            self._lock.release()


class _AdvisoryLock:
    """`pg_try_advisory_lock` on a connection of its own, which names its owner."""

    def __init__(self, url: URL, name: str) -> None:
        owner = _owner()
        label = f"nas {owner['pid']}@{owner['host']} {owner['started']}"[:63]
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1
        self._engine = sqlalchemy.create_engine(
            url,
            poolclass=sqlalchemy.pool.NullPool,
            connect_args={"application_name": label, "connect_timeout": 10},
        )
        try:
            self._connection = self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            )
            query = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)")
            taken = self._connection.execute(query, {"key": self._key}).scalar()
        except sqlalchemy.exc.SQLAlchemyError as error:
            cause = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise StorageError(f"--storage: {cause}") from None
        if not taken:
            holder = self._holder()
            self.release()
            raise _locked(name, holder)

    def _holder(self) -> str:
        query = sqlalchemy.text(
            "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = :key"
        )
        label = self._connection.execute(query, {"key": self._key}).scalar()
        words = (label or "").split()
        if len(words) != 3 or "@" not in words[1]:
            return "another process"
        pid, host = words[1].split("@", 1)
        return f"process {pid} on {host} since {words[2]}"

    def held(self) -> bool:
        try:
            query = sqlalchemy.text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND classid = 0 AND objid = :key AND pid = pg_backend_pid()"
            )
            return bool(self._connection.execute(query, {"key": self._key}).scalar())
        except sqlalchemy.exc.SQLAlchemyError:
            return False

    def release(self) -> None:
        self._connection.close()
        self._engine.dispose()
