"""Repair of what a crash left behind in a study and in its folder."""

from __future__ import annotations

import shutil

from nas.format import format_number
from nas.study.front import front_of_trials, validation_images
from nas.study.front_file import front_file, write_front, write_trials
from nas.study.latency_prediction import measured_latencies, prediction_error
from nas.study.location import StudyLocation, open_study
from nas.study.sharing import stored_sharing
from nas.study.storage.lock import lock_study
from nas.study.study import SearchStudy

# Files that `nas.files` and `nas.study.storage.engine` are about to rename.
TEMPORARY = (".front.json.*", ".trials.csv.*", ".report.html.*", ".study.db.*")


def repair(location: StudyLocation) -> list[str]:
    """Queue lost trials again, remove half-written files, write the files from the study.

    Returns:
        What was done, a line each.

    Raises:
        StudyLocked: a driver works on the study.
        ValueError: the study cannot be read or written.
    """
    study, config = open_study(location)
    lock = lock_study(location.storage, location.name)
    try:
        running = SearchStudy(study, config, budget=1).recover()
        done = (
            [f"{format_number(running, 'running trial')} failed and queued again"]
            if running
            else []
        )
        if location.folder is not None:
            for pattern in TEMPORARY:
                for file in location.folder.glob(pattern):
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
                    done.append(f"half-written {file.name} removed")
            trials, images = study.get_trials(deepcopy=False), validation_images(study.user_attrs)
            members, estimates = front_of_trials(trials, config, images)
            write_front(
                location.folder / "front.json",
                front_file(
                    location.name,
                    config,
                    members,
                    stored_sharing(study),
                    prediction_error(measured_latencies(study), config),
                ),
            )
            write_trials(location.folder / "trials.csv", study, estimates)
            done.append("front.json and trials.csv written from the study")
        return done
    finally:
        lock.release()
