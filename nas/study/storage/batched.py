"""Optuna's database storage, made faster where a search feels it.

Optuna loads each parameter and attribute of a trial as an object, and writes each in a
transaction of its own. Here trials are read by columns, and what is written of a trial at
one moment goes in one transaction, carried out as a whole or not at all. The tables are
Optuna's: its dashboard and its other programs read and write them as well.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import BindParameter, Select, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
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


class StudyStorage(RDBStorage):
    """A storage that answers as Optuna's does."""

    # What `together` is to write: the row of each table, trial and name.
    _held: dict[tuple[Table, int, str], dict[str, Any]] | None = None

    @contextmanager
    def batch_writes(self) -> Iterator[None]:
        """Write what is set of trials in here at once: parameters and user attributes.

        That is at the end, or before the state of a trial changes; what is still held when an
        exception ends the block is not written. The first value of a parameter in this process
        goes alone and at once, as Optuna compares it with the study's. For one thread.
        """
        self._held = {}
        try:
            yield
            self._write_held()
        finally:
            self._held = None

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write it at once, or hold it."""
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        if self._held is None:
            self._write([(ATTRIBUTES, row)])
        else:
            self._held[ATTRIBUTES, trial_id, key] = row

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        if previous_distribution is None:  # Optuna looks for one in the study
            self._set_first_param(trial_id, param_name, param_value_internal, distribution)
            return
        check_distribution_compatibility(previous_distribution, distribution)
        row = {
            "trial_id": trial_id,
            "param_name": param_name,
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }
        if self._held is None:
            self._write([(PARAMS, row)])
        else:
            self._held.setdefault((PARAMS, trial_id, param_name), row)

    def _set_first_param(
        self, trial_id: int, name: str, internal: float, distribution: BaseDistribution
    ) -> None:
        super()._set_trial_param(trial_id, name, internal, distribution, None)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """After what is held: a trial that has ended cannot be changed."""
        self._write_held()
        return super().set_trial_state_values(trial_id, state, values)

    def _write_held(self) -> None:
        if self._held:
            held, self._held = self._held, {}
            self._write([(table, row) for (table, *_), row in held.items()])

    def _write(self, rows: Sequence[tuple[Table, dict[str, Any]]]) -> None:
        """Parameters that are there stay, attributes are replaced; all in one transaction.

        Raises:
            KeyError: a trial is not there.
            UpdateFinishedTrialError: a trial has ended.
        """
        insert = (sqlite if self.engine.dialect.name == "sqlite" else postgresql).insert
        by_table = defaultdict(list)
        for table, row in rows:
            by_table[table].append(row)
        with _create_scoped_session(self.scoped_session) as session:
            for trial_id in {row["trial_id"] for _, row in rows}:
                state = session.scalar(select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id))
                if state is None:
                    raise KeyError(models.NOT_FOUND_MSG)
                self.check_trial_is_updatable(trial_id, state)
            for table, new in by_table.items():
                statement = insert(table)
                if table is PARAMS:
                    statement = statement.on_conflict_do_nothing()
                else:
                    statement = statement.on_conflict_do_update(
                        index_elements=["trial_id", "key"],
                        set_={"value_json": statement.excluded.value_json},
                    )
                session.execute(statement, new)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Raises KeyError where there is none."""
        with _create_scoped_session(self.scoped_session) as session:
            found = read_trials(session, _TRIALS.where(TRIALS.c.trial_id == trial_id))
        if not found:
            raise KeyError(models.NOT_FOUND_MSG)
        return found[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        ids = [i for i in included_trial_ids if i <= trial_id_greater_than]
        some = TRIALS.c.trial_id.in_(_IDS) | (TRIALS.c.trial_id > trial_id_greater_than)
        wanted = (TRIALS.c.study_id == study_id) & some
        with _create_scoped_session(self.scoped_session) as session:
            trials = read_trials(session, _TRIALS.where(wanted).params(ids=ids))
            if not trials:
                models.StudyModel.find_or_raise_by_id(study_id, session)
        return [trial for trial in trials if states is None or trial.state in states]


# In the text of a statement, as databases limit the number of parameters.
_IDS: BindParameter[Any] = bindparam("ids", expanding=True, literal_execute=True)


def _rows_of(table: Table, *columns: str) -> Select[Any]:
    """Trial and columns of the rows of the trials `ids`, in the order of their writing."""
    chosen = [table.c[name] for name in ("trial_id", *columns)]
    return select(*chosen).where(table.c.trial_id.in_(_IDS)).order_by(*table.primary_key)


_COLUMNS = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
_TRIALS = select(*(TRIALS.c[name] for name in _COLUMNS)).order_by(TRIALS.c.trial_id)
_PARAMS = _rows_of(PARAMS, "param_name", "param_value", "distribution_json")
_ATTRIBUTES = _rows_of(ATTRIBUTES, "key", "value_json")
_SYSTEM = _rows_of(SYSTEM_ATTRIBUTES, "key", "value_json")
_VALUES = _rows_of(VALUES, "objective", "value", "value_type")
_INTERMEDIATE = _rows_of(INTERMEDIATE, "step", "intermediate_value", "intermediate_value_type")


def read_trials(session: Session, wanted: Select[Any]) -> list[FrozenTrial]:
    """The trials that a statement like `_TRIALS` finds."""
    found: Sequence[Any] = session.execute(wanted).all()

    def rows(statement: Select[Any]) -> dict[int, list[Any]]:
        """Of each trial."""
        of_trial = defaultdict(list)
        for start in range(0, len(found), AT_ONCE):
            ids = [trial[0] for trial in found[start : start + AT_ONCE]]
            for row in session.execute(statement, {"ids": ids}):
                of_trial[row[0]].append(row[1:])
        return of_trial

    params, attributes, system = rows(_PARAMS), rows(_ATTRIBUTES), rows(_SYSTEM)
    values, intermediate = rows(_VALUES), rows(_INTERMEDIATE)
    read = []
    for trial_id, number, state, start, complete in found:
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
    """In this machine's time zone; the database has UTC."""
    if time is None:
        return None
    return time.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)
