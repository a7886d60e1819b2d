"""Every private name of Optuna that this project uses, and why no public name serves.

- `Study._storage`: `optuna.Trial(study, trial_id)`, which writes the attributes and notes of
  any trial, needs the trial's id, and only the storage translates a trial's number into it.
- `RDBStorage._get_trials`, the table models and the session: Optuna loads every parameter and
  attribute of a trial as an object of its own, which takes 8 s for 10,000 trials. `StudyStorage`
  selects plain columns of the same tables and takes 0.8 s.
- `get_storage`: adds the cache that Optuna puts in front of a database.
- `dashboard:ID:note_ver`: under this key the dashboard keeps the notes of trial ID.

`tests/study/test_optuna_private.py` names what is missing after an update of Optuna.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages._rdb import models as models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import BindParameter, Select, Table, bindparam, select
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError
from sqlalchemy.orm import Session

AT_ONCE = 1000  # trials whose rows one statement asks for

TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRIBUTES: Table = models.TrialSystemAttributeModel.__table__
VALUES: Table = models.TrialValueModel.__table__
INTERMEDIATE: Table = models.TrialIntermediateValueModel.__table__

_value = models.TrialValueModel.stored_repr_to_value
_intermediate = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
_distribution = lru_cache(maxsize=4096)(json_to_distribution)  # nobody changes one

logger = logging.getLogger(__name__)


def study_storage(study: optuna.Study) -> BaseStorage:
    """The storage that a study reads and writes."""
    return study._storage


def trial_handle(study: optuna.Study, number: int) -> optuna.Trial:
    """The trial of a number, to write to; one of `study.get_trials()` can only be read."""
    storage = study_storage(study)
    study_id = storage.get_study_id_from_name(study.study_name)
    return optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))


def trials_with_notes(study: optuna.Study) -> set[int]:
    """Numbers of the trials to which the dashboard holds a note."""
    storage = study_storage(study)
    keys = storage.get_study_system_attrs(storage.get_study_id_from_name(study.study_name))
    matches = (re.fullmatch(r"dashboard:(\d+):note_ver", key) for key in keys)
    return {storage.get_trial_number_from_id(int(match[1])) for match in matches if match}


def cached(storage: RDBStorage) -> BaseStorage:
    """A database storage behind Optuna's cache of finished trials."""
    return get_storage(storage)


class StudyStorage(RDBStorage):
    """Optuna's database storage; reads trials faster, and syncs each finished one to the disk."""

    _committing = True  # whether each write is a transaction of its own
    _unsynced = False  # whether a trial has finished since the last checkpoint

    @contextmanager
    def one_transaction(self) -> Iterator[None]:
        """Commit the writes to trials in here together at the end, or none of them.

        For one thread. Optuna commits each write by itself, which waits for the disk.

        Raises:
            sqlalchemy.exc.InvalidRequestError: a parameter was there already, so nothing was
                written. Optuna ignores that for a single write.
        """
        with self.engine.begin() as connection:
            self.scoped_session.remove()
            # With this mode Optuna's commits do nothing, and a rollback ends the transaction.
            self.scoped_session(bind=connection, join_transaction_mode="rollback_only")
            self._committing = False
            try:
                yield
            finally:
                self._committing = True
                self.scoped_session.remove()
            if not connection.in_transaction():
                raise InvalidRequestError("a parameter of the trial is there already")
        self._sync()

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """A finished trial is on the disk when it is committed: a power cut does not lose it."""
        done = super().set_trial_state_values(trial_id, state, values)
        self._unsynced |= state.is_finished()
        if self._committing:
            self._sync()
        return done

    def _sync(self) -> None:
        if self._unsynced and self.engine.dialect.name == "sqlite":
            try:
                with self.engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
            except SQLAlchemyError as error:  # the trial is committed all the same
                logger.warning(
                    "the study database could not be synchronised: %s",
                    getattr(error, "orig", error),
                )
        self._unsynced = False

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Raises KeyError where there is none."""
        with _create_scoped_session(self.scoped_session) as session:
            trials = _read_trials(session, _TRIALS.where(TRIALS.c.trial_id == trial_id))
        if not trials:
            raise KeyError(models.NOT_FOUND_MSG)
        return trials[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        ids = [i for i in included_trial_ids if i <= trial_id_greater_than]
        some = TRIALS.c.trial_id.in_(_IDS) | (TRIALS.c.trial_id > trial_id_greater_than)
        statement = _TRIALS.where((TRIALS.c.study_id == study_id) & some).params(ids=ids)
        with _create_scoped_session(self.scoped_session) as session:
            trials = _read_trials(session, statement)
            if not trials:
                models.StudyModel.find_or_raise_by_id(study_id, session)
        return [trial for trial in trials if states is None or trial.state in states]


# In the text of a statement, as databases limit the number of parameters.
_IDS: BindParameter[Any] = bindparam("ids", expanding=True, literal_execute=True)


def _rows_of(table: Table, *columns: str) -> Select[Any]:
    """Select columns of the rows that belong to the trials `ids`, in the order of writing."""
    chosen = [table.c[name] for name in ("trial_id", *columns)]
    return select(*chosen).where(table.c.trial_id.in_(_IDS)).order_by(*table.primary_key)


_COLUMNS = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
_TRIALS = select(*(TRIALS.c[name] for name in _COLUMNS)).order_by(TRIALS.c.trial_id)
_PARAMS = _rows_of(PARAMS, "param_name", "param_value", "distribution_json")
_ATTRIBUTES = _rows_of(ATTRIBUTES, "key", "value_json")
_SYSTEM = _rows_of(SYSTEM_ATTRIBUTES, "key", "value_json")
_VALUES = _rows_of(VALUES, "objective", "value", "value_type")
_INTERMEDIATE = _rows_of(INTERMEDIATE, "step", "intermediate_value", "intermediate_value_type")


def _read_trials(session: Session, statement: Select[Any]) -> list[FrozenTrial]:
    """The trials whose rows of the table `trials` a statement like `_TRIALS` selects."""
    headers: Sequence[Any] = session.execute(statement).all()

    def rows(details: Select[Any]) -> dict[int, list[Any]]:
        """The rows of one table by trial."""
        by_trial = defaultdict(list)
        for start in range(0, len(headers), AT_ONCE):
            ids = [header[0] for header in headers[start : start + AT_ONCE]]
            for row in session.execute(details, {"ids": ids}):
                by_trial[row[0]].append(row[1:])
        return by_trial

    params, attributes, system = rows(_PARAMS), rows(_ATTRIBUTES), rows(_SYSTEM)
    values, intermediate = rows(_VALUES), rows(_INTERMEDIATE)
    read = []
    for trial_id, number, state, start, complete in headers:
        kinds = {name: _distribution(kind) for name, _, kind in params[trial_id]}
        objectives = {at: _value(value, kind) for at, value, kind in values[trial_id]}
        read.append(
            FrozenTrial(
                number=number,
                state=state,
                value=None,
                values=[objectives[at] for at in sorted(objectives)] or None,
                datetime_start=_local(start),
                datetime_complete=_local(complete),
                params={
                    name: kinds[name].to_external_repr(value) for name, value, _ in params[trial_id]
                },
                distributions=kinds,
                user_attrs={key: json.loads(value) for key, value in attributes[trial_id]},
                system_attrs={key: json.loads(value) for key, value in system[trial_id]},
                intermediate_values={
                    step: _intermediate(value, kind) for step, value, kind in intermediate[trial_id]
                },
                trial_id=trial_id,
            )
        )
    return read


def _local(time: datetime.datetime | None) -> datetime.datetime | None:
    """A time of the database, which is in UTC, in this machine's time zone, without naming it.

    Of an hour that the clock shows twice it says which one is meant (`fold`); Optuna does not.
    """
    if time is None:
        return None
    return datetime.datetime.fromtimestamp(time.replace(tzinfo=datetime.UTC).timestamp())
