"""The study database: SQLite in the study's folder, or PostgreSQL."""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url

from nas.study.storage.batched import StudyStorage

BUSY_TIMEOUT = 60  # seconds that a reader's lock on SQLite is waited for
POSTGRES_CONNECTION: dict[str, str | int] = {
    "connect_timeout": 10,  # seconds
    # A server or a network that is gone is noticed within a minute or so.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,  # ms
}
ACCEPTED = "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"

logger = logging.getLogger(__name__)


class StorageError(ValueError):
    """The study database cannot be used; the message is one line without a password."""


def parse_storage(url: str) -> URL:
    """Check a storage URL before anything connects to it.

    Raises:
        StorageError: no URL, another kind of database, or SQLite without a file.
    """
    try:
        parsed = make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise StorageError(f"--storage: not a database URL; accepted: {ACCEPTED}") from None
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise StorageError(f"--storage: {kind} is not supported; accepted: {ACCEPTED}")
    if kind == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StorageError(f"--storage: SQLite needs a file; accepted: {ACCEPTED}")
    return parsed


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{file.resolve()}"


def hide_password(url: str | URL) -> str:
    """The URL as it may be shown or written."""
    parsed = make_url(url)
    if "password" in parsed.query:
        parsed = parsed.update_query_dict({"password": "***"})
    return parsed.render_as_string(hide_password=True)


Storage = TypeVar("Storage", bound=StudyStorage)


def open_storage(url: str) -> StudyStorage:
    """`open_storage_as`, for reading and for a few writes."""
    return open_storage_as(StudyStorage, url)


def open_storage_as(kind: type[Storage], url: str) -> Storage:
    """Connect, creating the tables where there are none.

    Raises:
        StorageError: the database cannot be reached, written, or is none.
    """
    parsed = parse_storage(url)
    engine_args: dict[str, object] = {"pool_pre_ping": True, "connect_args": POSTGRES_CONNECTION}
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(Path(str(parsed.database)))
        engine_args = {"connect_args": {"timeout": BUSY_TIMEOUT}}
    try:
        storage = kind(url, engine_kwargs=engine_args)
        if parsed.get_backend_name() == "sqlite":
            sqlalchemy.event.listen(storage.engine, "connect", _relax_sqlite)
            storage.engine.dispose()  # connections from before the listener
        return storage
    except ModuleNotFoundError as error:
        raise no_driver(error) from None
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        raise StorageError(f"--storage {hide_password(parsed)}: {first_line(error)}") from None


def batch_writes(study: optuna.Study) -> AbstractContextManager[None]:
    """`StudyStorage.together` of a study's storage; nothing where it has another kind."""
    storage = getattr(study._storage, "_backend", None)
    return storage.batch_writes() if isinstance(storage, StudyStorage) else nullcontext()


def make_durable(storage: optuna.storages.BaseStorage) -> None:
    """Bring what was committed to the disk, so that even a power cut does not lose it."""
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    if engine is None or engine.dialect.name != "sqlite":
        return
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlalchemy.exc.SQLAlchemyError as error:  # it is committed all the same
        logger.warning("the study database could not be synchronised: %s", first_line(error))


def _relax_sqlite(connection: sqlite3.Connection, record: object) -> None:
    """Wait for the disk at checkpoints alone: a trial writes some transactions.

    A dead process loses nothing by it; `make_durable` covers the dead machine.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def _prepare_sqlite(file: Path) -> None:
    """Switch to write-ahead logging, so that readers never block the search."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _create_sqlite(file)
        connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT)
        try:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in connection.execute(query)}
            if tables and "studies" not in tables:
                raise StorageError(f"--storage: {file}: a database of another program")
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
    except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        writable = not file.parent.exists() or os.access(file.parent, os.W_OK)
        reason = first_line(error) if writable else "the folder is read-only"
        raise StorageError(f"--storage: {file}: {reason}") from None


def _create_sqlite(file: Path) -> None:
    """Make an empty study database, whole or not at all.

    A process that dies while Optuna creates the tables would leave some without their
    indexes, which nobody creates later: a study could then be there twice.
    """
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
        made = Path(folder) / file.name
        storage = optuna.storages.RDBStorage(sqlite_url(made))
        storage.remove_session()
        storage.engine.dispose()
        try:
            file.hardlink_to(made)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a file system without links; the study's lock keeps others away
            made.rename(file)


def no_driver(error: ModuleNotFoundError) -> StorageError:
    """What to do where the package that speaks to PostgreSQL is missing."""
    return StorageError(
        f"--storage: the driver {error.name} is not installed; "
        "install it with: pip install 'dyclotnet-nas[postgres]'"
    )


def first_line(error: BaseException) -> str:
    """The database's own words, without SQL and without what a driver adds."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    cause = getattr(cause, "orig", None) or cause or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0]
