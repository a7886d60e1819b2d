"""The storage of a driver: it waits for a database that is away, and writes only under the lock.

PostgreSQL may be restarted, or a connection cut, in the middle of a search. Every call is
then repeated, with pauses that grow, until the database is back or `PATIENCE` is over. A call
that was cut may have been carried out all the same: writing an attribute or a parameter again
changes nothing, and the two calls for which a repetition differs say what it does. SQLite has
no such interruptions, so there every error ends the search at once.

What a driver writes of a trial at one moment goes in one transaction: each waits for the disk.

Optuna's own storage raises at the first cut connection and knows no lock.
"""

from __future__ import annotations

import abc
import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from nas.study.storage.engine import StorageError, first_line, open_storage
from nas.study.storage.lock import Lock, StudyLocked
from nas.study.storage.optuna_private import StudyStorage, cached, study_storage

PATIENCE = 600.0  # seconds that a database may be away
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds between two tries; each pause doubles
DRIVER = "driver"  # study attribute: the process that took the lock last
CONNECTION = (
    StorageError,  # of the lock, which has a connection of its own
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.PendingRollbackError,
)
READS = (
    "get_all_studies",
    "get_all_trials",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
)
STUDY_WRITES = (
    "create_new_study",
    "delete_study",
    "set_study_system_attr",
    "set_study_user_attr",
)
TRIAL_WRITES = (
    "set_trial_intermediate_value",
    "set_trial_param",
    "set_trial_system_attr",
    "set_trial_user_attr",
)  # under the lock, as are `create_new_trial` and `set_trial_state_values`

logger = logging.getLogger(__name__)


class StorageGone(BaseException):
    """The study can no longer be written; the message is one line without a password.

    It is no Exception, because Ray Tune and Optuna would take that for a trial's failure.
    """


class RetryingStorage(BaseStorage):
    """Repeats every call to a storage while its database is away; for the driver of a study.

    Args:
        storage: is read and written.
        lock: nothing is written to a trial without it.
        stopped: whether waiting is to end at once, as after a signal.

    Attributes:
        patience: seconds that the database may be away.
    """

    def __init__(self, storage: StudyStorage, lock: Lock, stopped: Callable[[], bool]) -> None:
        self.engine = storage.engine
        self.patience = PATIENCE
        self._database, self._storage = storage, cached(storage)
        self._lock, self._stopped = lock, stopped
        self._claimed: tuple[int, str] | None = None
        self._held: list[tuple[str, tuple[Any, ...], dict[str, Any]]] | None = (
            None  # writes of a batch
        )

    @contextmanager
    def batch_writes(self) -> Iterator[None]:
        """Hold what is written to trials in here; write it in one transaction.

        That is at the end, or together with a trial's change of state; an exception discards
        what is held. For one thread, which reads the trials as they were before.

        Raises:
            StorageGone: another driver has the study; also before anything is held.
        """
        self.with_retries(lambda again: None, writes=True)
        self._held = []
        try:
            yield
            if self._held:
                self.with_retries(self._write_held, writes=True)
        finally:
            self._held = None

    def _write_held(self, again: bool, change: Callable[[], bool] = lambda: True) -> bool:
        """Carry out what is held, and a change of state, as a whole or not at all."""
        if not self._held:
            return change()
        with self._database.one_transaction():
            for name, args, named in self._held:
                if again and name == "set_trial_param" and self._has_param(*args, **named):
                    continue  # the first call was carried out
                getattr(self._storage, name)(*args, **named)
            return change()

    def _has_param(self, trial_id: int, param_name: str, *value: Any, **named: Any) -> bool:
        return param_name in self._storage.get_trial(trial_id).params

    def claim(self, study_name: str, driver: str) -> None:
        """Write down who drives the study, so that a later driver in between is noticed."""
        study_id = self.get_study_id_from_name(study_name)
        self.set_study_user_attr(study_id, DRIVER, driver)
        self._claimed = (study_id, driver)

    def create_new_trial(self, study_id: int, template_trial: Any = None) -> int:
        """A repetition may leave a trial behind; `SearchStudy.ask` fails that one."""
        create = self._storage.create_new_trial
        return int(self.with_retries(lambda again: create(study_id, template_trial), writes=True))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """A repetition succeeds where it sees that the first call was carried out."""

        def call(again: bool) -> bool:
            try:
                done = self._write_held(
                    again, lambda: self._storage.set_trial_state_values(trial_id, state, values)
                )
            except UpdateFinishedTrialError:
                if again and self._storage.get_trial(trial_id).state == state:
                    return True
                raise
            if not done and again and state == TrialState.RUNNING:
                return bool(self._storage.get_trial(trial_id).state == state)
            return done

        done = bool(self.with_retries(call, writes=True))
        if self._held is not None:
            self._held = []
        return done

    def remove_session(self) -> None:
        """Give this thread's connection back."""
        self._storage.remove_session()

    def with_retries(self, call: Callable[[bool], Any], *, writes: bool = False) -> Any:
        """Carry out a call, again and again while the database is away.

        Args:
            call: is told whether it is a repetition.
            writes: whether to make sure of the lock first.

        Raises:
            StorageGone: the database was away for longer than `patience`, another driver has
                the study, or waiting does not mend the error.
        """
        began, pause = time.monotonic(), FIRST_PAUSE
        again = False
        while True:
            try:
                if writes:
                    self._require_lock()
                result = call(again)
            except StudyLocked as error:
                raise StorageGone(str(error)) from None
            except UpdateFinishedTrialError as error:
                raise StorageGone(
                    f"another process ended a trial of this search: {error}"
                ) from None
            except (StorageInternalError, StorageError, sqlalchemy.exc.SQLAlchemyError) as error:
                away = time.monotonic() - began
                self._require_passing(error, away)
                logger.warning(
                    "the database is away (%s); next try in %.1f s, for %.0f s more",
                    first_line(error),
                    pause,
                    self.patience - away,
                )
                self._wait(pause)
                again, pause = True, min(2 * pause, LONGEST_PAUSE)
            else:
                if again:
                    logger.warning("the database is back after %.0f s", time.monotonic() - began)
                return result

    def _require_passing(self, error: Exception, away: float) -> None:
        """Raise StorageGone unless the connection failed, not the request, and not for long."""
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        passing = isinstance(cause, CONNECTION) or getattr(cause, "connection_invalidated", False)
        if self.engine.dialect.name != "postgresql" or not passing:
            raise StorageGone(f"the study database: {first_line(error)}") from None
        if away > self.patience:
            raise StorageGone(
                f"the study database was away for {away:.0f} s ({first_line(error)})"
            ) from None

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._stopped():
                raise StorageGone("interrupted while the study database was away")
            time.sleep(0.1)

    def _require_lock(self) -> None:
        if self._lock.keep():
            return
        logger.warning("the lock of the study was lost with its connection, and taken again")
        if self._claimed is not None:
            study_id, driver = self._claimed
            last = self._storage.get_study_user_attrs(study_id).get(DRIVER)
            if last != driver:
                raise StorageGone(f"another driver worked on the study meanwhile: {last}")


def _retried(name: str, *, writes: bool) -> Callable[..., Any]:
    """The method of `BaseStorage` of this name, with retries."""

    @functools.wraps(getattr(BaseStorage, name), updated=())  # not that it is abstract
    def retried(self: RetryingStorage, *args: Any, **kwargs: Any) -> Any:
        if name in TRIAL_WRITES and self._held is not None:
            self._held.append((name, args, kwargs))
            return None
        call = getattr(self._storage, name)
        return self.with_retries(lambda again: call(*args, **kwargs), writes=writes)

    return retried


for _name in (*READS, *STUDY_WRITES, *TRIAL_WRITES):
    setattr(RetryingStorage, _name, _retried(_name, writes=_name in TRIAL_WRITES))
abc.update_abstractmethods(RetryingStorage)  # type: ignore[type-abstract]


def batch_writes(study: optuna.Study) -> AbstractContextManager[None]:
    """`RetryingStorage.batch_writes`, where the study of a driver has such a storage."""
    storage = study_storage(study)
    return storage.batch_writes() if isinstance(storage, RetryingStorage) else nullcontext()


def open_retrying(url: str, lock: Lock, stopped: Callable[[], bool]) -> RetryingStorage:
    """The storage of the driver that holds `lock`; the database is created where there is none.

    Raises:
        StorageError: the database cannot be reached or written, or is another program's.
    """
    storage = open_storage(url, create=True)
    return RetryingStorage(storage, lock, stopped)  # type: ignore[abstract]
