"""The storage of a driver: rides out a database that is away, and writes under the lock alone.

PostgreSQL may be restarted, or a connection cut, in the middle of a search. Every call is
then repeated, with pauses that grow, until the database is back or the patience is over. A
call that was cut may have been carried out all the same; what a repetition does then is said
where it matters. SQLite has no such outages, so there every error ends the search at once.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from nas.study.storage.batched import StudyStorage
from nas.study.storage.engine import StorageError, first_line, open_storage_as
from nas.study.storage.lock import Lock, StudyLocked

PATIENCE = 600.0  # seconds that a database may be away
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds between two tries; each pause doubles
DRIVER = "driver"  # study attribute: the process that took the lock last
CONNECTION = (
    StorageError,  # of the lock, which has a connection of its own
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.PendingRollbackError,
)

logger = logging.getLogger(__name__)


class StorageGone(BaseException):
    """The study can no longer be written; the message is one line without a password.

    No Exception, or Ray Tune and Optuna would take it for a trial's.
    """


class GuardedStorage(StudyStorage):
    """A storage with patience, for the one driver of a study.

    Attributes:
        lock: without which nothing is written.
        patience: seconds that the database may be away.
        stopped: whether waiting is to end at once, as after a signal.
    """

    lock: Lock | None = None
    patience: float = PATIENCE
    stopped: Callable[[], bool] = staticmethod(lambda: False)
    _claimed: tuple[int, str] | None = None

    def claim(self, study_id: int, driver: str) -> None:
        """Write down who drives, to find out after an outage whether another one did."""
        self.set_study_user_attr(study_id, DRIVER, driver)
        self._claimed = (study_id, driver)

    def patiently(self, call: Callable[[bool], Any], *, writes: bool = False) -> Any:
        """Carry out a call, again and again while the database is away.

        Args:
            call: told whether it is a repetition.
            writes: whether to make sure of the lock first.

        Raises:
            StorageGone: patience is over, another driver has the study, or it is an error
                that waiting does not mend.
        """
        began, pause = time.monotonic(), FIRST_PAUSE
        repetition = False
        while True:
            try:
                if writes:
                    self._require_lock()
                result = call(repetition)
            except StudyLocked as error:
                raise StorageGone(str(error)) from None
            except UpdateFinishedTrialError as error:
                raise StorageGone(f"another process ended a trial of this one: {error}") from None
            except (StorageInternalError, StorageError, sqlalchemy.exc.SQLAlchemyError) as error:
                away = time.monotonic() - began
                self._give_up(error, away)
                logger.warning(
                    "the database is away (%s); next try in %.1f s, for %.0f s more",
                    first_line(error),
                    pause,
                    self.patience - away,
                )
                self._wait(pause)
                repetition, pause = True, min(2 * pause, LONGEST_PAUSE)
            else:
                if repetition:
                    logger.warning("the database is back after %.0f s", time.monotonic() - began)
                return result

    def _give_up(self, error: Exception, away: float) -> None:
        if self.engine.dialect.name != "postgresql" or not _passing(error):
            raise StorageGone(f"the study database: {first_line(error)}") from None
        if away > self.patience:
            raise StorageGone(
                f"the study database was away for {away:.0f} s ({first_line(error)})"
            ) from None

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.stopped():
                raise StorageGone("interrupted while the study database was away")
            time.sleep(0.1)

    def _require_lock(self) -> None:
        if self.lock is None or self.lock.keep():
            return
        logger.warning("the lock of the study was lost with its connection, and taken again")
        if self._claimed is not None:
            study_id, driver = self._claimed
            found = StudyStorage.get_study_user_attrs(self, study_id).get(DRIVER)
            if found != driver:
                raise StorageGone(f"another driver worked on the study meanwhile: {found}")

    def _create_new_trial(self, study_id: int, template_trial: Any = None) -> Any:
        """A repetition may leave a trial behind, which `SearchStudy.ask` fails."""
        create = super()._create_new_trial
        return self.patiently(lambda again: create(study_id, template_trial), writes=True)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """A repetition finds the state that it wants if the first call was carried out."""
        tell = super().set_trial_state_values

        def call(repetition: bool) -> bool:
            try:
                done = tell(trial_id, state, values)
            except UpdateFinishedTrialError:
                if repetition and StudyStorage.get_trial(self, trial_id).state == state:
                    return True
                raise
            if not done and repetition and state == TrialState.RUNNING:
                return bool(StudyStorage.get_trial(self, trial_id).state == state)
            return done

        return bool(self.patiently(call, writes=True))


def _passing(error: Exception) -> bool:
    """Whether it is the connection that failed, not the request."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    passing = isinstance(cause, CONNECTION) or getattr(cause, "connection_invalidated", False)
    return bool(passing)


def _guarded(name: str) -> Callable[..., Any]:
    method, writes = getattr(StudyStorage, name), name in WRITES

    @functools.wraps(method)
    def guarded(self: GuardedStorage, *args: Any, **kwargs: Any) -> Any:
        return self.patiently(lambda again: method(self, *args, **kwargs), writes=writes)

    return guarded


WRITES = ("_write", "_set_first_param", "set_trial_system_attr")  # of trials
for _name in (
    *WRITES,
    "create_new_study",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "_get_trials",
    "set_study_system_attr",
    "set_study_user_attr",
):
    # Whatever they do, they do again: the same result, or the same row, as the first time.
    setattr(GuardedStorage, _name, _guarded(_name))


def open_guarded(url: str, lock: Lock, stopped: Callable[[], bool]) -> GuardedStorage:
    """The storage of the driver that holds `lock`.

    Raises:
        StorageError: the database cannot be reached, written, or is none.
    """
    storage = open_storage_as(GuardedStorage, url)
    storage.lock, storage.patience, storage.stopped = lock, PATIENCE, stopped
    return storage
