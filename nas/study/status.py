"""The status of a study: its trials, its front and who works on it. Nothing is changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from json import JSONDecodeError
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas.study.front import FrontMember, front
from nas.study.location import StudyLocation, open_study
from nas.study.storage.engine import first_line, hide_password
from nas.study.storage.lock import lock_owner
from nas.study.study import ENDED
from nas.study.trial_state import STATES, trial_state


@dataclass(frozen=True)
class StudyStatus:
    """A study as it is now."""

    study: str
    storage: str  # without its password
    problem: str | None = None  # why nothing more is known
    counted: int = 0  # architectures that count for the budget
    repeats: int = 0  # suggestions of architectures that already had a result
    states: dict[str, int] = field(default_factory=dict)  # trials by state, without repeats
    reasons: dict[str, int] = field(default_factory=dict)  # of failed trials
    front: int = 0  # networks on it
    metric: str = "accuracy"  # what accuracies are; see `Recipe.metric`
    quantized: bool = False  # whether they are those of the networks in int8
    best: tuple[dict[str, Any], ...] = ()  # cheapest, knee if any, most accurate of the front
    last_activity: str | None = None  # ISO 8601, in the time zone of this machine
    owner: str | None = None  # of the lock
    left_running: int = 0  # trials of a driver that died; --repair queues them again


def study_status(location: StudyLocation) -> StudyStatus:
    """The status of a study; one that cannot be read has a `problem`."""
    try:
        return _read_status(location)
    except (StorageInternalError, SQLAlchemyError) as error:
        problem = first_line(error)
    except (LookupError, JSONDecodeError) as error:
        problem = f"its trials cannot be read ({error})"
    except ValueError as error:
        problem = str(error)
    shown = hide_password(location.storage)
    return StudyStatus(location.name, shown, problem=" ".join(problem.split()))


def _read_status(location: StudyLocation) -> StudyStatus:
    study, config = open_study(location)
    owner = lock_owner(location.storage, location.name)
    trials = study.get_trials(deepcopy=False)
    launched = [trial for trial in trials if "duplicate_of" not in trial.user_attrs]
    states = Counter(trial_state(trial) for trial in launched)
    members = front(study, config)
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    return StudyStatus(
        study=location.name,
        storage=hide_password(location.storage),
        counted=len({t.user_attrs["arch_id"] for t in launched if t.state in ENDED}),
        repeats=len(trials) - len(launched),
        states={state: states[state] for state in STATES if states[state]},
        reasons=dict(
            Counter(
                str(trial.user_attrs.get("reason", "unknown"))
                for trial in launched
                if trial_state(trial) == "failed"
            ).most_common()
        ),
        front=len(members),
        metric=config.recipe.metric,
        quantized=config.quantized,
        best=tuple(_points(members)),
        last_activity=_last_activity(trials),
        owner=str(owner) if owner else None,
        left_running=0 if owner else running,
    )


def _points(members: list[FrontMember]) -> list[dict[str, Any]]:
    if not members:
        return []
    chosen = [("cheapest", members[0])]
    chosen += [("knee", member) for member in members if member.knee]
    chosen += [("most accurate", max(members, key=lambda member: member.expected))]
    names = ("arch_id", "accuracy", "macs", "params")
    return [
        {"why": why, "trial": member.trial.number, "estimate": member.expected}
        | {name: member.attributes[name] for name in names}
        for why, member in chosen
    ]


def _last_activity(trials: list[FrozenTrial]) -> str | None:
    times = [time for t in trials for time in (t.datetime_start, t.datetime_complete) if time]
    if not times:
        return None
    last = max(times, key=datetime.timestamp)  # instants: a clock may show an hour twice
    return last.isoformat(sep=" ", timespec="seconds")
