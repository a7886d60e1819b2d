"""Full trainings: one after the other in this process, or several at a time under Ray."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import ray
import torch

from nas.data import SearchData
from nas.space.arch import Arch
from nas.training import Diverged, Recipe
from nas.training.full import Progress, last_epoch, retrain, validate
from nas.tune.searcher import MAX_ATTEMPTS, WORKER_DIED
from nas.tune.session import collected_signals, ray_session, usable_cpus

POLL = 0.5  # seconds between two looks at the histories of running trainings


@dataclass(frozen=True)
class Training:
    """A network that is to be trained in a folder."""

    name: str  # for people
    network: Arch | str  # an architecture, or the name of a reference network
    recipe: Recipe
    seed: int
    folder: Path
    macs: int  # of one image, to estimate how long the rest takes
    labels: Mapping[str, Any] | None  # for `metrics.json`; None: the test set is left alone
    export: tuple[str, ...] = ()  # formats

    def run(
        self, data: SearchData, data_dir: Path, threads: int | None, progress: Progress | None
    ) -> dict[str, Any]:
        """Train or continue; the contents of `metrics.json`, or the `val_accuracy` alone."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.labels is None:
            accuracy = validate(
                *(self.network, data, self.recipe, self.seed, self.folder),
                device=device,
                threads=threads,
                progress=progress,
            )
            return {"val_accuracy": accuracy}
        metrics = retrain(
            *(self.network, data, data_dir, self.recipe, self.seed, self.folder),
            device=device,
            threads=threads,
            progress=progress,
            labels=self.labels,
        )
        if self.export:
            from nas.deploy.export import export

            metrics["export"] = export(self.folder, self.export, data_dir)
        return metrics


@dataclass(frozen=True)
class Failed:
    """What a training ended with that brought no network; the others went on."""

    training: Training
    reason: str

    def __str__(self) -> str:
        return f"{self.training.name}: {self.reason}"


class Show(Protocol):
    """What shows a training."""

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """An epoch was trained."""

    def done(self, failed: str | None = None) -> None:
        """The training has ended, now or in an earlier run; `failed` says what kept it."""


Outcome = dict[str, Any] | Failed
Shows = Callable[[Training], Show]
"""Makes what shows a training, as it starts."""
Run = Callable[[Sequence[Training], Shows], list[Outcome]]
"""Runs trainings and gives their outcomes in the same order.

Raises:
    ValueError: a folder or the data set is not what a training needs.
"""


def choose_concurrency(wanted: int | None, trainings: int) -> int:
    """Trainings at a time: as wanted, else one on each GPU, or on each core without any."""
    return min(trainings, wanted or torch.cuda.device_count() or usable_cpus())


def gpu_share(gpus: int, concurrency: int) -> float:
    """GPUs of each of several trainings: whole ones, or an equal share of one."""
    if gpus >= concurrency:
        return gpus // concurrency
    return 1 / math.ceil(concurrency / gpus) if gpus else 0.0


@contextmanager
def workers(
    data: SearchData, data_dir: Path, concurrency: int, threads: int | None
) -> Iterator[Run]:
    """What runs trainings, so many at a time, each on its share of the cores and GPUs.

    Args:
        data: the splits to train and validate on.
        data_dir: where the test set is looked for.
        concurrency: 1 trains in this process, more under a Ray of our own.
        threads: CPU threads of a training; None: all, or its share of them.
    """
    if concurrency == 1:
        yield lambda trainings, shows: [
            _run_here(training, data, data_dir, threads, shows(training)) for training in trainings
        ]
    else:
        received: list[int] = []
        with collected_signals(received), ray_session(None):
            yield _Workers(data, data_dir, concurrency, threads, received).run


def _run_here(
    training: Training, data: SearchData, data_dir: Path, threads: int | None, show: Show
) -> Outcome:
    try:
        outcome: Outcome = training.run(data, data_dir, threads, show)
    except Exception as error:
        outcome = _failed(training, error)
    show.done(outcome.reason if isinstance(outcome, Failed) else None)
    return outcome


def _failed(training: Training, error: Exception) -> Failed:
    """What concerns this training alone; a mistake of the user's is raised."""
    if isinstance(error, ValueError) and not isinstance(error, Diverged):
        raise error
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Failed(training, line[:200])


class _Workers:
    """Ray tasks; a driver that ends takes them with it, and their checkpoints stay."""

    def __init__(
        self,
        data: SearchData,
        data_dir: Path,
        concurrency: int,
        threads: int | None,
        received: list[int],
    ) -> None:
        there = ray.cluster_resources()
        self._threads = threads or max(1, int(there["CPU"] / concurrency))
        self._received = received
        self._data, self._data_dir = ray.put(data), data_dir.absolute()
        self._concurrency = concurrency
        # Ray gives a task the GPUs that it asks for, and hides the others from it.
        self._task = ray.remote(_run_there).options(
            num_cpus=there["CPU"] / concurrency,
            num_gpus=gpu_share(int(there.get("GPU", 0)), concurrency),
            max_retries=0,
        )

    def run(self, trainings: Sequence[Training], shows: Shows) -> list[Outcome]:
        """See `Run`; progress is read from the histories that the trainings write."""
        outcomes: dict[int, Outcome] = {}
        attempts = [0] * len(trainings)
        waiting, running = list(range(len(trainings))), dict[Any, int]()
        shown: dict[int, _Shown] = {}
        while waiting or running:
            while waiting and len(running) < self._concurrency:
                index = waiting.pop(0)
                attempts[index] += 1
                if index not in shown:
                    shown[index] = _Shown(trainings[index], shows(trainings[index]))
                running[self._start(trainings[index])] = index
            done, _ = ray.wait(list(running), timeout=POLL)
            self._heed_signals()
            for index in running.values():
                shown[index].look()
            for task in done:
                index = running.pop(task)
                outcome = _outcome(trainings[index], task)
                if outcome is None and attempts[index] < MAX_ATTEMPTS:
                    waiting.insert(0, index)
                    continue
                ended = outcomes[index] = outcome or Failed(trainings[index], WORKER_DIED)
                shown[index].look()
                shown[index].show.done(ended.reason if isinstance(ended, Failed) else None)
        return [outcomes[index] for index in range(len(trainings))]

    def _heed_signals(self) -> None:
        """Leave where no call of Ray's is cut in two: it would make another exit of it."""
        if signal.SIGINT in self._received:
            raise KeyboardInterrupt
        if self._received:
            raise SystemExit(128 + self._received[0])

    def _start(self, training: Training) -> Any:
        there = replace(training, folder=training.folder.absolute())
        return self._task.remote(there, self._data, self._data_dir, self._threads)


class _Shown:
    """A training whose worker writes a history, and what shows it."""

    def __init__(self, training: Training, show: Show) -> None:
        self._training, self.show = training, show
        self._epoch, self._since = 0, time.time()

    def look(self) -> None:
        """Show an epoch that is new."""
        last = last_epoch(self._training.folder, self._since)
        if last is not None and last[0] > self._epoch:
            self._epoch, loss, accuracy = last
            self.show(self._epoch, self._training.recipe.epochs, loss, accuracy)


def _outcome(training: Training, task: Any) -> Outcome | None:
    """What a task that has ended gave; None where its worker is gone."""
    try:
        metrics: dict[str, Any] = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        return _failed(training, error.cause)
    except ray.exceptions.RayError:
        return None
    return metrics


def _run_there(
    training: Training, data: SearchData, data_dir: Path, threads: int
) -> dict[str, Any]:
    return training.run(data, data_dir, threads, None)
