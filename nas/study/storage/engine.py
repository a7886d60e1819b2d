"""The study database: SQLite in the study's folder, or PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url

from nas.study.storage.optuna_private import StudyStorage

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


class StorageError(ValueError):
    """The study database cannot be used; the message is one line without a password."""


def parse_storage(url: str) -> URL:
    """Check a storage URL before anything connects to it.

    Raises:
        StorageError: no URL, another kind of database, SQLite without a file, or a password that
            holds an @ as it is. The message shows nothing of the URL.
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
    if kind == "postgresql" and "@" in f"{parsed.host}{parsed.database}":
        # The rest of the password would be taken for the host, and printed.
        raise StorageError(
            "--storage: more than one @; accepted: %40 for an @ in the password, or the password "
            "in the environment variable PGPASSWORD"
        )
    return parsed


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file; the path may hold any character, such as `?`, `#` and `%20`."""
    try:
        return URL.create("sqlite", database=str(file.resolve())).render_as_string()
    except UnicodeEncodeError:
        raise StorageError(f"{file!a}: not UTF-8; accepted: a folder whose name is") from None


def hide_password(url: str | URL) -> str:
    """The URL as it may be shown or written."""
    parsed = make_url(url)
    if "password" in parsed.query:
        parsed = parsed.update_query_dict({"password": "***"})
    return parsed.render_as_string(hide_password=True)


def open_storage(url: str, *, create: bool = False) -> StudyStorage:
    """Connect to a study database.

    Args:
        url: of the database.
        create: make what is missing (file, tables) and let SQLite log ahead of writing, so
            that readers never block the search. Without it nothing is changed, and no connection
            outlasts its use: one process may read more studies than PostgreSQL has connections.

    Raises:
        StorageError: the database cannot be reached or written, or it is none.
    """
    parsed = parse_storage(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite:
        _prepare_sqlite(Path(str(parsed.database)), create)
    arguments: dict[str, Any] = (
        {"connect_args": {"timeout": BUSY_TIMEOUT}}
        if sqlite
        else {"pool_pre_ping": True, "connect_args": POSTGRES_CONNECTION}
    )
    if not create:
        arguments["poolclass"] = sqlalchemy.NullPool
    try:
        if not create and not has_tables(url):
            raise StorageError(f"--storage {hide_password(parsed)}: holds no study")
        storage = StudyStorage(url, engine_kwargs=arguments)
        if sqlite and create:
            sqlalchemy.event.listen(storage.engine, "connect", _sync_at_checkpoints)
            storage.engine.dispose()  # connections from before the listener
        return storage
    except ModuleNotFoundError as error:
        raise no_driver(error) from None
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        raise StorageError(f"--storage {hide_password(parsed)}: {first_line(error)}") from None


def has_tables(url: str) -> bool:
    """Whether a database that exists holds Optuna's tables.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it cannot be reached.
        ModuleNotFoundError: the driver of this kind of database is missing.
    """
    arguments = {} if url.startswith("sqlite") else POSTGRES_CONNECTION
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=arguments)
    return bool(sqlalchemy.inspect(engine).has_table("alembic_version"))


def _sync_at_checkpoints(connection: sqlite3.Connection, record: object) -> None:
    """Wait for the disk at checkpoints alone: a trial writes some 27 transactions.

    A process that dies loses nothing by it; the checkpoint after each trial
    (`StudyStorage.set_trial_state_values`) covers a machine that dies.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def _prepare_sqlite(file: Path, create: bool) -> None:
    """Check that a file is a study database; with `create` make it and switch to the WAL."""
    try:
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            if not create:
                raise StorageError(f"--storage: {file}: no such file")
            _create_sqlite(file)
        connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT)
        try:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in connection.execute(query)}
            if tables and "studies" not in tables:
                raise StorageError(f"--storage: {file}: a database of another program")
            if create:
                connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
    except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        writable = not file.parent.exists() or os.access(file.parent, os.W_OK)
        reason = first_line(error) if writable else "the folder is read-only"
        raise StorageError(f"--storage: {file}: {reason}") from None


def _create_sqlite(file: Path) -> None:
    """Make an empty study database, whole or not at all.

    Optuna creates its tables one by one. A process that dies meanwhile would leave some
    without their indexes, which nobody creates later: a study could then be there twice.
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
