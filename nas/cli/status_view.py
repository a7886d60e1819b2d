"""What a study holds, who works on it, and tidying up after a crash."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from nas.cli.options import format_count, format_number
from nas.study.config import StudyConfig, recorded_config
from nas.study.front import FrontMember, front
from nas.study.front_file import front_file, write_front, write_trials
from nas.study.plan import find_study
from nas.study.storage.engine import hide_password, open_storage, parse_storage, sqlite_url
from nas.study.storage.lock import lock_owner, lock_study
from nas.study.study import FINISHED, SearchStudy

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}
# Of `nas.files` and of a study database on its way.
TEMPORARY = (".front.json.*", ".trials.csv.*", ".report.html.*", ".study.db.*")


@dataclass(frozen=True)
class Place:
    """Where a study is."""

    name: str
    storage: str  # URL, with its password
    folder: Path | None  # of its files, where it is known


@dataclass(frozen=True)
class StudyStatus:
    """A study as it is now."""

    study: str
    storage: str  # without its password
    problem: str | None = None  # why nothing more is known
    counted: int = 0  # architectures that count for the budget
    repeats: int = 0  # suggestions that were answered from the record
    states: dict[str, int] = field(default_factory=dict)  # trials that were launched
    reasons: dict[str, int] = field(default_factory=dict)  # of failed trials
    front: int = 0  # networks on it
    best: tuple[dict[str, Any], ...] = ()  # cheapest, knee and most accurate of the front
    last_activity: str | None = None  # ISO 8601, in the time zone of the driver
    owner: str | None = None  # of the lock
    left_running: int = 0  # by a driver that died; --repair fails and queues them


def find_places(folder: Path, storage: str | None, study: str | None) -> list[Place]:
    """The studies of a folder (a study's own, or one that holds such folders), or of a database.

    Raises:
        ValueError: there is none.
    """
    if storage is not None:
        url = parse_storage(storage)
        if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
            raise ValueError(f"--storage: {url.database}: no such file")
        names = [study] if study else sorted(optuna.get_all_study_names(open_storage(storage)))
        if not names:
            raise ValueError(f"--storage {hide_password(storage)}: holds no study")
        return [Place(name, storage, _with_files(folder / name)) for name in names]
    files = [folder / "study.db"]
    if not files[0].exists():
        files = [folder / study / "study.db"] if study else sorted(folder.glob("*/study.db"))
    places = [
        Place(study or file.parent.resolve().name, sqlite_url(file), file.parent)
        for file in files
        if file.exists()
    ]
    if not places:
        raise ValueError(
            f"{folder}: holds no study.db; accepted: a study's folder, a folder of such folders, "
            "or --storage URL"
        )
    return places


def study_status(place: Place) -> StudyStatus:
    """Look at a study without changing it; what cannot be read is a status with a `problem`."""
    shown = hide_password(place.storage)
    try:
        study, config = _open(place)
        owner = lock_owner(place.storage, place.name)
    except ValueError as error:
        return StudyStatus(place.name, shown, problem=" ".join(str(error).split()))
    trials = study.get_trials(deepcopy=False)
    launched = [trial for trial in trials if "duplicate_of" not in trial.user_attrs]
    members = front(study, config.objectives)
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    return StudyStatus(
        study=place.name,
        storage=shown,
        counted=len({t.user_attrs["arch_id"] for t in launched if t.state in FINISHED}),
        repeats=len(trials) - len(launched),
        states=dict(Counter(STATES[trial.state] for trial in launched)),
        reasons=dict(
            Counter(
                str(trial.user_attrs.get("reason", "unknown"))
                for trial in launched
                if trial.state == TrialState.FAIL
            ).most_common()
        ),
        front=len(members),
        best=tuple(_points(members)),
        last_activity=_last_activity(trials),
        owner=str(owner) if owner else None,
        left_running=0 if owner else running,
    )


def repair(place: Place) -> list[str]:
    """Tidy up what a crash left: trials, half-written files, files that lag behind the study.

    Returns:
        What was done, a line each.

    Raises:
        StudyLocked: a driver works on the study.
        ValueError: the study cannot be read or written.
    """
    study, config = _open(place)
    lock = lock_study(place.storage, place.name)
    try:
        running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        SearchStudy(study, config, budget=1)
        done = [f"{running} running trials failed and queued again"] if running else []
        if place.folder is not None:
            for pattern in TEMPORARY:
                for file in place.folder.glob(pattern):
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
                    done.append(f"half-written {file.name} removed")
            members = front(study, config.objectives)
            write_front(place.folder / "front.json", front_file(place.name, config, members))
            write_trials(place.folder / "trials.csv", study)
            done.append("front.json and trials.csv written from the study")
        return done
    finally:
        lock.release()


def show_status(statuses: Sequence[StudyStatus]) -> None:
    """Print each study as a few lines."""
    console = Console(highlight=False, soft_wrap=True)
    for status in statuses:
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, text in _lines(status):
            table.add_row(f"  {name}", text)
        console.print(status.study, style="bold")
        console.print(table)


def status_json(status: StudyStatus) -> dict[str, Any]:
    """A status as plain values."""
    return asdict(status)


def _lines(status: StudyStatus) -> list[tuple[str, str]]:
    if status.problem is not None:
        return [("problem", status.problem)]
    trials = ", ".join(f"{times} {state}" for state, times in status.states.items()) or "none"
    if status.repeats:
        trials += f", {status.repeats} repeats answered from the record"
    lines = [("architectures", str(status.counted)), ("trials", trials)]
    if status.reasons:
        reasons = (f"{times} {reason}" for reason, times in status.reasons.items())
        lines.append(("failures", "; ".join(reasons)))
    lines.append(("front", format_number(status.front, "network")))
    lines += [
        (
            point["why"],
            f"{point['arch_id']}  {100 * point['accuracy']:.2f} %  "
            f"{format_count(point['macs'])} FLOPs (multiply-adds)",
        )
        for point in status.best
    ]
    lines.append(("last activity", status.last_activity or "none"))
    lines.append(("lock", status.owner or "free"))
    if status.left_running:
        lines.append(
            ("left behind", f"{status.left_running} running trials; --repair queues them again")
        )
    return lines


def _open(place: Place) -> tuple[optuna.Study, StudyConfig]:
    """Raises ValueError where there is no such study, or not one of ours."""
    study = find_study(place.storage, place.name)
    if study is None:
        raise ValueError(
            f"study {place.name}: not in {hide_password(place.storage)}; "
            "accepted: --study with a name that is there"
        )
    config = recorded_config(study)
    if config is None:
        raise ValueError(f"study {place.name}: empty; runners/search.py has not begun it")
    return study, config


def _points(members: list[FrontMember]) -> list[dict[str, Any]]:
    if not members:
        return []
    chosen = {
        "cheapest": members[0],
        "knee": next(member for member in members if member.knee),
        "most accurate": max(members, key=lambda member: member.attributes["accuracy"]),
    }
    names = ("arch_id", "accuracy", "macs", "params")
    return [
        {"why": why, "trial": member.trial.number}
        | {name: member.attributes[name] for name in names}
        for why, member in chosen.items()
    ]


def _last_activity(trials: list[FrozenTrial]) -> str | None:
    times = [time for t in trials for time in (t.datetime_start, t.datetime_complete) if time]
    return max(times).isoformat(sep=" ", timespec="seconds") if times else None


def _with_files(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None
