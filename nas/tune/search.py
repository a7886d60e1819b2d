"""Search: lock the study, run its trials, write its files."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning

from nas.report.analysis import read_study
from nas.report.dashboard import annotate_study
from nas.report.page import write_data
from nas.report.running_report import RunningReport
from nas.retrain.comparison import read_summary
from nas.study.begin import begin
from nas.study.choose_sampler import choose_sampler
from nas.study.front import FrontMember
from nas.study.front_file import front_file, write_front, write_trials
from nas.study.latency_prediction import (
    PredictionError,
    measured_latencies,
    prediction_error,
)
from nas.study.plan import Plan
from nas.study.sharing import Sharing, stored_sharing, update_sharing
from nas.study.sources import store_sources
from nas.study.storage.lock import Lock, lock_study, myself
from nas.study.storage.retrying import StorageGone, open_retrying
from nas.study.study import CONTROL_SECONDS, Candidate, SearchStudy
from nas.tune.run import SearchEnded, StopConditions, run
from nas.tune.searcher import SearchView


class SearchFailed(RuntimeError):
    """The study or its files cannot be written; one line that says how to continue."""


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    study: SearchStudy
    members: list[FrontMember]  # of the front
    predicted: PredictionError | None  # of latencies, where they are measured
    ended: SearchEnded | None  # what ended it before the budget was reached
    seconds: float  # of this run
    files: tuple[Path, ...]


def search(
    plan: Plan, show: Callable[[SearchStudy, Sequence[int]], AbstractContextManager[SearchView]]
) -> SearchResult:
    """Run or continue a search and write its files.

    Args:
        plan: from `nas.study.plan.make_plan`.
        show: makes the view, given the study and the list of signals received so far.

    Raises:
        StudyLocked: another process works on the study.
        SearchFailed: the study or its files cannot be written.
        ValueError: the study has another configuration, or there is no room for the trials.
    """
    received: list[int] = []  # numbers of signals
    start, request = time.monotonic(), plan.request
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--results: {plan.folder}: cannot be written ({error.strerror}); "
            "accepted: a folder that can"
        ) from None
    lock = lock_study(plan.storage, plan.study_name)
    try:
        with _log_to(plan.folder / "search.log"):
            study = _open(plan, lock, received)
            ended, ran = None, study.counted < request.budget
            if ran:
                stops = StopConditions(
                    None if request.timeout is None else start + request.timeout,
                    request.max_failures,
                    request.trial_timeout,
                )
                with (
                    RunningReport(study.study, plan.config, plan.folder) as report,
                    show(study, received) as view,
                ):
                    ended = run(study, plan, stops, received, _ReportedView(view, report))
            sharing = _sharing(study, plan, ended, ran=ran)
            data = read_study(study.study, plan.config)
            predicted = prediction_error(measured_latencies(study.study), plan.config)
            contents = front_file(plan.study_name, plan.config, data.members, sharing, predicted)
            names = ("front.json", "trials.csv", "report.html")
            files = tuple(plan.folder / name for name in names)
            write_front(files[0], contents)
            write_trials(files[1], study.study, data.estimates)
            annotate_study(study.study, data, read_summary(plan.folder / "retrained"))
            write_data(data, plan.folder, running=False)
    except StorageGone as gone:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise SearchFailed(f"{gone}; run the same command again to continue") from None
    except OSError as error:
        raise SearchFailed(
            f"{error.filename or plan.folder}: {error.strerror or error}; what was stored "
            "in the study is there, run the same command again to continue"
        ) from None
    finally:
        lock.release()
    return SearchResult(study, data.members, predicted, ended, time.monotonic() - start, files)


def _sharing(
    study: SearchStudy, plan: Plan, ended: SearchEnded | None, *, ran: bool
) -> Sharing | None:
    """What was taken from earlier studies.

    It takes long to measure: after Ctrl-C, and where nothing was trained, it is what is stored.
    """
    stored = stored_sharing(study.study)
    interrupted = ended is not None and ended.signal_number is not None
    if interrupted or (stored is not None and not ran):
        return stored
    images = plan.config.recipe.evaluated(plan.data.val)
    return update_sharing(study.study, plan.config, plan.request.seed, images)


class _ReportedView:
    """A view of a search that also keeps the study's report up to date."""

    def __init__(self, view: SearchView, report: RunningReport) -> None:
        self.started, self.reported = view.started, view.reported
        self._view, self._report = view, report

    def ended(self, candidate: Candidate, state: str, detail: str) -> None:
        self._view.ended(candidate, state, detail)
        self._report.update()


def _open(plan: Plan, lock: Lock, received: list[int]) -> SearchStudy:
    """Create the study, or open and recover it."""
    request = plan.request
    images = plan.config.recipe.evaluated(plan.data.val)
    chosen = choose_sampler(
        plan.sampler,
        plan.config,
        request.seed,
        plan.num_trials,
        images,
        plan.sources,
        request.source_front,
    )
    storage = open_retrying(plan.storage, lock, lambda: bool(received))
    study = optuna.create_study(
        storage=storage,
        study_name=plan.study_name,
        directions=plan.config.objectives.directions,
        sampler=chosen.sampler,
        load_if_exists=True,
    )
    begin(study, plan.config, dataset_reason=plan.dataset_reason)
    store_sources(study, plan.sources)
    storage.claim(plan.study_name, str(myself()))
    study.set_user_attr("sampler", plan.sampler)
    study.set_user_attr("seed", request.seed)
    study.set_user_attr("val_images", images)
    # Trials that start together would compare themselves with the limit by controls of their own.
    if plan.control_seconds is not None and CONTROL_SECONDS not in study.user_attrs:
        study.set_user_attr(CONTROL_SECONDS, plan.control_seconds)
    opened = SearchStudy(
        study,
        plan.config,
        budget=request.budget,
        seed=request.seed,
        joint=chosen.joint,
        latency=chosen.latency,
    )
    opened.recover()
    opened.try_first(plan.first)
    return opened


class _LogFile(logging.FileHandler):
    """A log file; errors such as a full disk are ignored."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore the error."""


class _WarningHandler(logging.Handler):
    """Prints warnings on standard error, above a live view if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {self.format(record)}", file=sys.stderr)


class _log_to:  # noqa: N801 - used as a context manager
    """Send the log of this package, Optuna and Ray to a file.

    Only warnings of the database and of slow nodes are printed too.
    """

    names = ("nas", "optuna", "ray")
    printed = ("nas.study.storage.retrying", "nas.tune.searcher")

    def __init__(self, path: Path) -> None:
        self._warnings = _WarningHandler(logging.WARNING)
        self._handler = _LogFile(path)
        self._handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )

    def __enter__(self) -> None:
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        loggers = [logging.getLogger(name) for name in self.names]
        self._before = [(logger, logger.propagate, logger.level) for logger in loggers]
        self._optuna_prints = bool(logging.getLogger("optuna").handlers)
        optuna.logging.disable_default_handler()
        for name in self.names:
            logger = logging.getLogger(name)
            logger.addHandler(self._handler)
            logger.propagate = False
        nas = logging.getLogger("nas")
        nas.setLevel(logging.INFO)
        if nas.handlers == [self._handler]:  # otherwise --verbose prints them
            for name in self.printed:
                logging.getLogger(name).addHandler(self._warnings)

    def __exit__(self, *details: object) -> None:
        for name in self.names:
            logging.getLogger(name).removeHandler(self._handler)
        for name in self.printed:
            logging.getLogger(name).removeHandler(self._warnings)
        for logger, propagate, level in self._before:  # as the program that called has them
            logger.propagate = propagate
            logger.setLevel(level)
        if self._optuna_prints:
            optuna.logging.enable_default_handler()
        self._handler.close()
