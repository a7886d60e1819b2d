"""Report on the study of a folder."""

from __future__ import annotations

from pathlib import Path

from nas.report.dashboard import annotate_study
from nas.report.page import write_report
from nas.retrain.comparison import read_summary
from nas.study.location import StudyLocation, folder_location, open_study
from nas.study.storage.lock import StudyLocked, lock_study


def report_study(location: StudyLocation, folder: Path) -> tuple[Path, bool]:
    """Write `report.html`, and the dashboard's notes and figures where no search is running.

    Returns:
        The report's file, and whether the study was annotated.

    Raises:
        ValueError: there is no such study, or this program did not make it.
    """
    study, config = open_study(location)
    try:
        lock = lock_study(location.storage, location.name)
    except StudyLocked:
        return write_report(study, config, folder, running=True), False
    try:
        annotate_study(study, config, read_summary(folder / "retrained"))
    finally:
        lock.release()
    return write_report(study, config, folder), True


def refresh_report(folder: Path, name: str) -> Path | None:
    """Write `report.html` again where the folder holds its study; returns the file.

    Raises:
        ValueError: the study in the folder has another name.
    """
    if not (folder / "study.db").is_file():
        return None
    return report_study(folder_location(folder, None, name), folder)[0]
