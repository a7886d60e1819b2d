"""A search and a bare Ray Tuner over no-op or sleeping trials.

Both reuse their actors. The bare one draws random configurations, has no study and never stops
a trial: it is the floor that Ray Tune itself sets.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from benchmarks.noop_trainable import NoopTrial
from nas.space.space import SearchSpace
from nas.study.plan import make_plan
from nas.study.request import Request
from nas.study.resources import ClusterResources, Node
from nas.study.storage.lock import lock_study
from nas.study.study import Candidate
from nas.tune.run import StopCallback, StopConditions, make_tuner
from nas.tune.scheduler import FrontScheduler
from nas.tune.search import _open
from nas.tune.searcher import StudySearcher

DATASET = "digits"
SEED = 0


@dataclass(frozen=True)
class Ran:
    """One trial, seconds since the epoch."""

    began: float
    ended: float
    process: int  # of the actor


@contextmanager
def started_ray(cpus: int) -> Iterator[None]:
    """A Ray with `cpus` logical CPUs, whatever the machine has."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
        yield
    finally:
        ray.shutdown()


def run_bare(space: Path, trials: int, concurrency: int, sleep: float) -> list[Ran]:
    """Run a bare Tuner; its trials in the order of their start."""
    choices = SearchSpace.from_yaml(space).choices
    with tempfile.TemporaryDirectory(prefix="nas-overhead-") as scratch:
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(concurrency)
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(NoopTrial, sleep=sleep), {"cpu": 1}),
            param_space={choice.name: tune.choice(list(choice.values)) for choice in choices}
            | {"seed": tune.randint(0, 2**31)},
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                num_samples=trials,
                max_concurrent_trials=concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="bare",
                storage_path=scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        return _ran(tuner.fit())


def run_ours(
    space: Path,
    trials: int,
    concurrency: int,
    sleep: float,
    sampler: str = "known-cost",
    waits: list[float] | None = None,
) -> list[Ran]:
    """Run a search with its study in SQLite, its searcher, scheduler and sampler.

    `waits` gets the seconds that Tune's loop, and with it each free slot, waited for a trial.
    """
    logging.getLogger("nas").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="nas-overhead-") as folder:
        request = Request(
            budget=trials,
            space=space,
            dataset=DATASET,
            results=Path(folder),
            study="no-op",
            sampler=sampler,
            seed=SEED,
        )
        plan = make_plan(request, ClusterResources((Node(concurrency),), 1))
        plan.folder.mkdir(parents=True)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(concurrency)
        lock = lock_study(plan.storage, plan.study_name)
        try:
            study = _open(plan, lock, [])
            searcher = _TimedSearcher(study, 1, concurrency, _Silent())
            tuner = make_tuner(
                tune.with_parameters(NoopTrial, sleep=sleep),
                searcher,
                FrontScheduler(
                    study, 1, len(plan.data.val), set_death_reason=searcher.set_death_reason
                ),
                {"cpu": 1.0},
                StopCallback(study, StopConditions(None, 0, None), [], searcher),
                folder,
            )
            with searcher:
                ran = _ran(tuner.fit())
            if waits is not None:
                waits += searcher.waits
            return ran
        finally:
            lock.release()


class _TimedSearcher(StudySearcher):
    """Measures how long Tune's loop waits for each trial."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.waits: list[float] = []  # seconds

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        start = time.perf_counter()
        suggested = super().suggest(trial_id)
        if isinstance(suggested, dict):
            self.waits.append(time.perf_counter() - start)
        return suggested


class _Silent:
    """A view without output."""

    def started(self, candidate: Candidate) -> None:
        pass

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None:
        pass

    def ended(self, candidate: Candidate, state: str, detail: str) -> None:
        pass


def _ran(grid: tune.ResultGrid) -> list[Ran]:
    metrics = [result.metrics for result in grid]
    ran = [Ran(float(m["began"]), float(m["ended"]), int(m["process"])) for m in metrics]
    return sorted(ran, key=lambda trial: trial.began)


def all_up(ran: Sequence[Ran], actors: int) -> float:
    """When the last of the first `actors` actors (or of all, if fewer) began its first trial."""
    first: dict[int, float] = {}
    for trial in ran:
        first.setdefault(trial.process, trial.began)
    return sorted(first.values())[:actors][-1]


def seconds_per_trial(ran: Sequence[Ran], actors: int) -> float:
    """Time from when all actors are up to the end, per trial that began in it."""
    start = all_up(ran, actors)
    return (max(trial.ended for trial in ran) - start) / sum(trial.began >= start for trial in ran)


def busy_share(ran: Sequence[Ran], slots: int) -> float:
    """Share of the slots' time in which a trial ran, from when all actors are up to the end."""
    start, end = all_up(ran, slots), max(trial.ended for trial in ran)
    busy = sum(max(0.0, trial.ended - max(start, trial.began)) for trial in ran)
    return busy / (slots * (end - start))
