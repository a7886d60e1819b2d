"""Run the trials of a search with Ray Tune."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from nas.format import format_number
from nas.stopping.rule import rungs
from nas.study.plan import Plan
from nas.study.storage.retrying import StorageGone
from nas.study.study import SearchStudy
from nas.tune.ray_private import trial_actor
from nas.tune.scheduler import FrontScheduler
from nas.tune.searcher import TIMEOUT, SearchView, StudySearcher
from nas.tune.session import collected_signals, ray_session
from nas.tune.trainable import TrainingTrial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StopConditions:
    """Conditions that end a search before its budget is reached."""

    deadline: float | None  # a time of `time.monotonic`
    max_failures: int
    trial_timeout: float | None  # seconds from a trial's start; None: no limit


class SearchEnded(BaseException):
    """Ends Tune's loop between two steps.

    It is not an `Exception`, since for those Tune would wait until its trials end.
    """

    def __init__(self, why: str, signal_number: int | None = None, *, failed: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.signal_number = signal_number
        self.failed = failed  # whether it was an error, not the user's wish


def run(
    study: SearchStudy,
    plan: Plan,
    stops: StopConditions,
    received: list[int],
    view: SearchView,
) -> SearchEnded | None:
    """Run trials until the budget is reached.

    Args:
        study: without running trials.
        plan: data, recipe and resources of the trials.
        stops: conditions that end the search earlier.
        received: collects the numbers of SIGINT and SIGTERM; the first ends the search.
        view: notified of every event.

    Returns:
        None, or what ended the search earlier; trials that were running are then interrupted
        and queued again for the next start. In both cases no trial is left RUNNING.

    Raises:
        StorageGone: the study cannot be written any more; the next start recovers it.
    """
    data, recipe, request = plan.data, plan.config.recipe, plan.request
    with (
        collected_signals(received),
        tempfile.TemporaryDirectory(prefix="nas-search-") as scratch,
        ray_session(request.ray_address),
    ):
        # Without this variable Tune starts one actor after the other.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(plan.concurrency)
        searcher = StudySearcher(study, recipe.epochs, plan.concurrency, view)
        try:
            stop_callback = StopCallback(study, stops, received, searcher)
            trainable = tune.with_parameters(
                TrainingTrial,
                data=data,
                recipe=recipe,
                rungs=rungs(recipe.epochs),
                threads=max(1, int(request.cpus_per_trial)),
                machine=study.config.machine,
                backend=study.config.latency_backend,
                max_latency=study.config.limits.max_latency,
                quantized=study.config.quantized,
            )
            images = recipe.evaluated(data.val)
            scheduler = FrontScheduler(
                study, recipe.epochs, images, set_death_reason=searcher.set_death_reason
            )
            per_trial = {"cpu": request.cpus_per_trial, "gpu": plan.gpus_per_trial}
            tuner = make_tuner(trainable, searcher, scheduler, per_trial, stop_callback, scratch)
            with searcher:
                tuner.fit()
        except SearchEnded as ended:
            _interrupt(study, searcher)
            return ended
        except StorageGone:
            raise
        except BaseException:
            _interrupt(study, searcher)
            raise
    return None


def _interrupt(study: SearchStudy, searcher: StudySearcher) -> None:
    """Queue the architectures that run, and those that were asked for ahead, again."""
    launched = {candidate.number for candidate in searcher.launched.values()}
    for number in list(study.running):
        study.interrupt(number, launched=number in launched)


class StopCallback(tune.Callback):  # type: ignore[misc]
    """Ends the search at a point where no write to the study can be interrupted."""

    def __init__(
        self,
        study: SearchStudy,
        stops: StopConditions,
        received: list[int],
        searcher: StudySearcher,
    ) -> None:
        self._study, self._stops, self._received = study, stops, received
        self._searcher = searcher
        self._started: dict[str, float] = {}  # by Tune's trial id

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Remember when the trial started, for `trial_timeout`."""
        self._started[trial.trial_id] = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise `SearchEnded` if a condition holds, or what ended the study's thread."""
        self._searcher.check()
        if self._received:
            raise SearchEnded("interrupted", self._received[0])
        if self._stops.deadline is not None and time.monotonic() >= self._stops.deadline:
            raise SearchEnded("--timeout reached")
        if self._stops.trial_timeout is not None:
            self._kill_hanging(trials, time.monotonic() - self._stops.trial_timeout)
        failures = self._study.failures
        if failures.total() > self._stops.max_failures:
            reason, times = failures.most_common(1)[0]
            why = (
                f"{format_number(failures.total(), 'trial')} failed, more than --max-failures "
                f"{self._stops.max_failures}; most often ({format_number(times, 'time')}): {reason}"
            )
            raise SearchEnded(why, failed=True)

    def _kill_hanging(self, trials: list[Any], latest: float) -> None:
        """Kill the actors of trials that started before `latest`; Tune starts new ones."""
        for trial in trials:
            actor = trial_actor(trial)
            started = self._started.get(trial.trial_id, math.inf)
            if trial.status == "RUNNING" and actor is not None and started < latest:
                del self._started[trial.trial_id]
                self._searcher.set_death_reason(trial.trial_id, TIMEOUT)
                ray.kill(actor)


def make_tuner(
    trainable: Any,
    searcher: StudySearcher,
    scheduler: FrontScheduler,
    per_trial: dict[str, float],
    stop_callback: StopCallback,
    scratch: str,
) -> tune.Tuner:
    """A Tuner whose only state is the study's; its own files go to the folder `scratch`."""
    return tune.Tuner(
        tune.with_resources(trainable, per_trial),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            callbacks=[stop_callback],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
