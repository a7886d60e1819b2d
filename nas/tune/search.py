"""A search from its plan to its files: lock, study, trials, front."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning

from nas.report.dashboard import annotate_study
from nas.report.export import front_file, write_front, write_trials
from nas.report.page import write_report
from nas.search.choose_sampler import choose_sampler
from nas.search.config import recorded_config, software_versions
from nas.search.front import FrontMember, front
from nas.search.lock import lock_study
from nas.search.plan import Plan
from nas.search.storage import open_storage
from nas.search.study import SearchStudy
from nas.tune.run import Resources, SearchEnded, Stops, run
from nas.tune.searcher import View


@dataclass(frozen=True)
class SearchResult:
    """How a search ended."""

    study: SearchStudy
    members: list[FrontMember]
    ended: SearchEnded | None  # what ended it before the budget was reached
    seconds: float  # of this run
    files: tuple[Path, ...]


def search(plan: Plan, show: Callable[[SearchStudy], AbstractContextManager[View]]) -> SearchResult:
    """Run or continue a search and write its files.

    Args:
        plan: from `make_plan`.
        show: makes the view of a study.

    Raises:
        StudyLocked: another process works on the study.
        ValueError: the study or the resources are not what was asked for.
    """
    start, request = time.monotonic(), plan.request
    plan.folder.mkdir(parents=True, exist_ok=True)
    lock = lock_study(plan.storage, plan.study_name)
    try:
        with _log_to(plan.folder / "search.log"):
            study = _open(plan)
            ended = None
            if study.counted < request.budget:
                stops = Stops(
                    None if request.timeout is None else start + request.timeout,
                    request.max_failures,
                )
                resources = Resources(
                    request.concurrency,
                    request.cpus_per_trial,
                    plan.gpus_per_trial,
                    request.ray_address,
                )
                with show(study) as view:
                    ended = run(study, plan.data, plan.config.recipe, resources, stops, view)
            members = front(study.study, plan.config.objectives)
            names = ("front.json", "trials.csv", "report.html")
            files = tuple(plan.folder / name for name in names)
            write_front(files[0], front_file(plan.study_name, plan.config, members))
            write_trials(files[1], study.study)
            annotate_study(study.study, plan.config)
            write_report(study.study, plan.config, plan.folder)
    finally:
        lock.release()
    return SearchResult(study, members, ended, time.monotonic() - start, files)


def _open(plan: Plan) -> SearchStudy:
    """Create the study or continue it."""
    request = plan.request
    chosen = choose_sampler(plan.sampler, plan.config, request.seed, plan.recorded)
    study = optuna.create_study(
        storage=open_storage(plan.storage),
        study_name=plan.study_name,
        directions=plan.config.objectives.directions,
        sampler=chosen.sampler,
        load_if_exists=True,
    )
    if recorded_config(study) is None:
        study.set_metric_names(list(plan.config.objectives.names))
        attributes = plan.config.to_attributes() | {
            "dataset_reason": plan.dataset_reason,
            "versions": software_versions(),
        }
        for key, value in attributes.items():
            study.set_user_attr(key, value)
    study.set_user_attr("sampler", plan.sampler)
    study.set_user_attr("seed", request.seed)
    return SearchStudy(
        study, plan.config, budget=request.budget, seed=request.seed, joint=chosen.joint
    )


class _log_to:  # noqa: N801 - used as a context manager
    """Send the log of the search, of Optuna and of Ray to a file, none to the screen."""

    names = ("nas", "optuna", "ray")

    def __init__(self, path: Path) -> None:
        self._handler = logging.FileHandler(path)
        self._handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )

    def __enter__(self) -> None:
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        optuna.logging.disable_default_handler()
        for name in self.names:
            logger = logging.getLogger(name)
            logger.addHandler(self._handler)
            logger.propagate = False
        logging.getLogger("nas").setLevel(logging.INFO)

    def __exit__(self, *details: object) -> None:
        for name in self.names:
            logging.getLogger(name).removeHandler(self._handler)
        self._handler.close()
