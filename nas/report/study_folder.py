"""Report on the study of a folder."""

from __future__ import annotations

from pathlib import Path

from nas.report.analysis import read_study
from nas.report.dashboard import annotate_study
from nas.report.page import REPORT, write_data, write_report
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
        data = read_study(study, config)
        annotate_study(study, data, read_summary(folder / "retrained"))
    finally:
        lock.release()
    return write_data(data, folder, running=False), True


def refresh_report(folder: Path, name: str, storage: str | None) -> Path | None:
    """Write `report.html` again, and the dashboard's notes, of a study that has a report.

    Args:
        folder: of the study.
        name: of the study.
        storage: URL of its database, where that is not in the folder.

    Returns:
        The report's file; None where there is no study in the folder to report on.

    Raises:
        ValueError: the study is not in that database, or has another name.
    """
    if not (folder / "study.db").is_file() and storage is None:
        if not (folder / REPORT).exists():
            return None
        raise ValueError(f"{folder}: holds no study.db; accepted: --storage URL, or NAS_STORAGE")
    return report_study(folder_location(folder, storage, name), folder)[0]
