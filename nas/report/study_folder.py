"""Open the study of a folder, and report on it."""

from __future__ import annotations

from pathlib import Path

import optuna

from nas.report.dashboard import annotate_study
from nas.report.page import write_report
from nas.study.config import stored_config
from nas.study.plan import find_study
from nas.study.storage.engine import hide_password, sqlite_url
from nas.study.storage.lock import StudyLocked, lock_study


def open_study(folder: Path, storage: str | None, name: str | None) -> tuple[optuna.Study, str]:
    """The study of `results/STUDY` and its database's URL.

    Args:
        folder: the study's folder; its name is the study's.
        storage: a database URL; None for the folder's own SQLite file, which also wins over
            one that does not hold the study.
        name: of the study, where it is not the folder's.

    Raises:
        ValueError: there is no such folder or study, or this program did not make it.
    """
    name = name or folder.resolve().name
    if storage is None or (folder / "study.db").exists():
        if not (folder / "study.db").is_file():
            raise ValueError(
                f"{folder}: holds no study.db; accepted: a study's folder such as results/STUDY, "
                "or --storage URL for a study in PostgreSQL"
            )
        storage = sqlite_url(folder / "study.db")
    study = find_study(storage, name)
    if study is None:
        raise ValueError(
            f"study {name}: not in {hide_password(storage)}; accepted: --study with a name "
            "that is there"
        )
    return study, storage


def report_study(study: optuna.Study, storage: str, folder: Path) -> tuple[Path, bool]:
    """Write `report.html`, and the dashboard's notes and figures where no search is running.

    Returns:
        The report's file, and whether the study was annotated.

    Raises:
        ValueError: the study was not made by this program.
    """
    config = stored_config(study)
    if config is None:
        raise ValueError(
            f"study {study.study_name}: empty; accepted: one made by runners/search.py"
        )
    path = write_report(study, config, folder)
    try:
        lock = lock_study(storage, study.study_name)
    except StudyLocked:
        return path, False
    try:
        annotate_study(study, config)
    finally:
        lock.release()
    return path, True


def refresh_report(folder: Path, name: str) -> Path | None:
    """Write `report.html` again where the folder holds its study; returns the file.

    Raises:
        ValueError: what it holds is not the study of this name.
    """
    if not (folder / "study.db").is_file():
        return None
    study, storage = open_study(folder, None, name)
    return report_study(study, storage, folder)[0]
