"""One driver per study: a lock that dies with the process that holds it."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import filelock
import sqlalchemy
from sqlalchemy.engine import URL

from nas.study.storage.engine import (
    POSTGRES_CONNECTION,
    StorageError,
    first_line,
    hide_password,
    no_driver,
    parse_storage,
)

PROBE = 0.5  # seconds that a lock is tried for; `lock_owner` holds it for an instant


class StudyLocked(RuntimeError):
    """Another process works on the study; the message names it."""


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""

    def keep(self) -> bool:
        """Make sure that this process holds the lock.

        Returns:
            Whether it was held all the time; False where it was lost and taken again.

        Raises:
            StudyLocked: another process holds it now.
            StorageError: the database cannot be reached.
        """


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    host: str
    pid: int
    started: str  # ISO 8601, when it took the lock

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.started}"


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
        return _FileLock(_lock_file(parsed), name)
    return _AdvisoryLock(parsed, name)


def lock_owner(url: str, name: str) -> Owner | None:
    """Who holds the lock of a study; None where nobody does. Nothing is written.

    Raises:
        StorageError: the database cannot be reached.
    """
    parsed = parse_storage(url)
    if parsed.get_backend_name() == "postgresql":
        with _connect(parsed) as connection:
            return _advisory_owner(connection, _key(name))
    path = _lock_file(parsed)
    try:
        with path.open("rb") as file:
            # Held for an instant, which is why `_FileLock` tries for longer than that.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(path.with_suffix(".owner")) or UNKNOWN
    except OSError:
        return None
    return None


UNKNOWN = Owner("unknown host", 0, "unknown time")


def _lock_file(url: URL) -> Path:
    return Path(str(url.database)).with_suffix(".lock")


def myself() -> Owner:
    """This process, from now on."""
    started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return Owner(socket.gethostname(), os.getpid(), started)


def _locked(name: str, owner: Owner | None) -> StudyLocked:
    holder = "another process" if owner in (None, UNKNOWN) else str(owner)
    return StudyLocked(f"study {name} is in use by {holder}; wait for it or stop it")


def _read_owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


class _FileLock:
    def __init__(self, path: Path, name: str) -> None:
        self._owner_file = path.with_suffix(".owner")
        self._lock = filelock.FileLock(path, timeout=PROBE)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise _locked(name, _read_owner(self._owner_file)) from None
        except OSError as error:
            raise StorageError(f"{path}: cannot be locked ({error.strerror})") from None
        with contextlib.suppress(OSError):  # the owner's name is a courtesy; the lock is held
            self._owner_file.write_text(json.dumps(asdict(myself())))

    def keep(self) -> bool:
        return True  # the system takes it away from dead processes alone

    def release(self) -> None:
        if self._lock.is_locked:
            self._owner_file.unlink(missing_ok=True)
            self._lock.release()


class _AdvisoryLock:
    """`pg_try_advisory_lock` on a connection of its own, which names its owner."""

    def __init__(self, url: URL, name: str) -> None:
        self._url, self._name = url, name
        self._backend = 0  # the server's process that held the lock last for this object
        self._take()

    def _take(self) -> None:
        self._connection = _connect(self._url, myself())
        query = sqlalchemy.text(
            "SELECT pg_try_advisory_lock(:key), pg_backend_pid(), (SELECT l.pid " + _HOLDERS + ")"
        )
        key = {"key": _key(self._name)}
        try:
            taken, backend, before = self._connection.execute(query, key).one()
            holder = None if taken else _advisory_owner(self._connection, key["key"])
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise StorageError(f"--storage: {first_line(error)}") from None
        if taken:
            self._backend = backend
            return
        self.release()
        if before == self._backend:  # its connection to us is gone, and it has not noticed yet
            raise StorageError("the server still holds the lock for a connection that was cut")
        raise _locked(self._name, holder)

    def keep(self) -> bool:
        try:
            query = sqlalchemy.text(f"SELECT count(*) {_HOLDERS} AND l.pid = pg_backend_pid()")
            if self._connection.execute(query, {"key": _key(self._name)}).scalar():
                return True
        except sqlalchemy.exc.SQLAlchemyError:
            pass  # the connection was cut, and the server gave the lock back
        self.release()
        self._take()
        return False

    def release(self) -> None:
        with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
            self._connection.close()
        self._connection.engine.dispose()


_HOLDERS = (
    "FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 "
    "AND l.objid = :key AND l.database = (SELECT oid FROM pg_database "
    "WHERE datname = current_database())"
)


# The server notices within a minute or so that the owner's machine is gone.
_KEEPALIVES = (
    "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=50000"
)


def _key(name: str) -> int:
    """31 bits, which PostgreSQL shows as an `objid`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def _connect(url: URL, owner: Owner | None = None) -> sqlalchemy.Connection:
    """A connection of its own to PostgreSQL, which shows `owner` as its application."""
    arguments = POSTGRES_CONNECTION | {"options": _KEEPALIVES}
    if owner is not None:
        arguments["application_name"] = f"nas {owner.pid}@{owner.host} {owner.started}"[:63]
    try:
        engine = sqlalchemy.create_engine(
            url, poolclass=sqlalchemy.pool.NullPool, connect_args=arguments
        )
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except ModuleNotFoundError as error:
        raise no_driver(error) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StorageError(f"--storage {hide_password(url)}: {first_line(error)}") from None


def _advisory_owner(connection: sqlalchemy.Connection, key: int) -> Owner | None:
    query = sqlalchemy.text(
        "SELECT (SELECT a.application_name FROM pg_stat_activity a WHERE a.pid = l.pid) " + _HOLDERS
    )
    row = connection.execute(query, {"key": key}).first()
    if row is None:
        return None
    words = (row[0] or "").split()
    if len(words) != 3 or "@" not in words[1]:
        return UNKNOWN
    pid, host = words[1].split("@", 1)
    return Owner(host, int(pid) if pid.isdigit() else 0, words[2])
