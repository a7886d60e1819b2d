"""`report.html` while a search runs: written now and then, in a thread of its own."""

from __future__ import annotations

import copy
import logging
import threading
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from nas.report.analysis import read_trials
from nas.report.page import write_data
from nas.study.config import StudyConfig
from nas.study.front_file import front_file, write_front

EVERY = 20.0  # seconds between two reports, at least
SHARE = 0.05  # of a core, at most, that reports take

logger = logging.getLogger(__name__)


class RunningReport:
    """The report of a running search, a context manager.

    `update` reads the study in the thread that calls it, since that thread writes the study, and
    returns; the report and `front.json` are written in another thread. A report that cannot be
    written is logged, and the search goes on.

    Args:
        study: of the search.
        config: of the study.
        folder: of the study.
    """

    def __init__(self, study: optuna.Study, config: StudyConfig, folder: Path) -> None:
        self._study, self._config, self._folder = study, config, folder
        self._thread: threading.Thread | None = None
        self._not_before = 0.0  # a time of `time.monotonic`

    def __enter__(self) -> RunningReport:
        self.update()
        return self

    def __exit__(self, *details: object) -> None:
        if self._thread is not None:
            self._thread.join()

    def update(self) -> None:
        """Start to write the report, unless the last one is too recent."""
        now, start = time.monotonic(), time.thread_time()
        if now < self._not_before or (self._thread is not None and self._thread.is_alive()):
            return
        trials = [  # a trial that has ended does not change any more
            trial if trial.state.is_finished() else copy.deepcopy(trial)
            for trial in self._study.get_trials(deepcopy=False)
        ]
        attributes = dict(self._study.user_attrs)
        self._not_before = now + EVERY
        took = time.thread_time() - start
        self._thread = threading.Thread(
            target=self._write, args=(trials, attributes, took), daemon=True
        )
        self._thread.start()

    def _write(self, trials: list[FrozenTrial], attributes: dict[str, Any], took: float) -> None:
        now = time.monotonic()
        try:
            data = read_trials(self._study.study_name, self._config, trials, attributes)
            contents = front_file(data.name, self._config, data.members)
            write_front(self._folder / "front.json", contents)
            write_data(data, self._folder, running=True)
        except Exception:
            logger.exception("the report of the running search was not written")
        self._not_before = now + max(EVERY, (took + time.thread_time()) / SHARE)
