"""Full trainings: one after the other in this process, or several at a time under Ray."""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

import ray
import torch
from torch import nn

from nas.data import DatasetInfo, SearchData
from nas.deploy.latency import machine_identity, measure
from nas.space.arch import Arch
from nas.study.resources import ClusterResources
from nas.threads import cpu_threads
from nas.training import Diverged, Recipe
from nas.training.distillation import Teacher
from nas.training.fine_tune_int8 import fine_tune_int8
from nas.training.folder import locked
from nas.training.full import LoadTest, Progress, retrain
from nas.training.teacher import keep_logits
from nas.tune.remote_folder import Changes, FolderWatch, read_folder, write_changes
from nas.tune.searcher import MAX_ATTEMPTS, WORKER_DIED
from nas.tune.session import collected_signals, ray_session
from nas.tune.trainable import why_slow

POLL = 0.5  # seconds between two checks for signals

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """A network that is to be trained in a folder."""

    name: str  # shown in messages
    network: Arch | str  # an architecture, or the name of a reference network
    recipe: Recipe
    seed: int
    folder: Path
    macs: int  # of one image, to estimate the remaining time
    labels: Mapping[str, Any] | None  # for `metrics.json`; None: validate, without the test set
    export: tuple[str, ...] = ()  # formats
    fine_tune_int8: bool = False  # whether an int8 file that loses over a point is fine-tuned
    teacher: Teacher | None = None  # the one that the recipe names
    teaches: bool = False  # whether its logits are kept

    def run(
        self,
        folder: Path,
        data: SearchData,
        load_test: LoadTest,
        device: torch.device,
        threads: int | None,
        progress: Progress | None,
        fine_tuned: Progress | None = None,
    ) -> dict[str, Any]:
        """Start or continue the training in `folder`.

        `progress` is called after each epoch, `fine_tuned` after each one of fine-tuning in int8.

        Returns:
            The contents of `metrics.json`; without labels `val_accuracy` alone.
        """
        test = None if self.labels is None else load_test
        metrics = retrain(
            *(self.network, data, test, self.recipe, self.seed, folder),
            device=device,
            threads=threads,
            progress=progress,
            labels=self.labels,
            measure=partial(_measure, info=data.info),
            teacher=self.teacher,
        )
        if self.teaches:
            keep_logits(folder, data, device)
        if self.export:
            from nas.deploy.export import export

            fine_tune = partial(
                fine_tune_int8,
                data=data,
                recipe=self.recipe,
                seed=self.seed,
                device=device,
                threads=threads,
                progress=fine_tuned,
            )
            metrics["export"] = export(
                *(folder, self.export, load_test, data.train),
                fine_tune=fine_tune if self.fine_tune_int8 else None,
            )
        return metrics


def _measure(network: nn.Module, info: DatasetInfo) -> dict[str, Any]:
    """Latency of one image on one thread of this machine's processor."""
    cpu = torch.device("cpu")
    with cpu_threads(1):
        latency = measure(network, info.image_size, info.in_channels, cpu)
        return {"latency": latency.seconds, "latency_machine": machine_identity(cpu)}


@dataclass(frozen=True)
class Failed:
    """A training that produced no network; the others go on."""

    training: Training
    reason: str

    def __str__(self) -> str:
        return f"{self.training.name}: {self.reason}"


class TrainingView(Protocol):
    """The view of one training."""

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """An epoch was trained."""

    def fine_tuned(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """The network was fine-tuned in int8 for an epoch."""

    def done(self, failed: str | None = None) -> None:
        """The training has ended, now or in an earlier run; `failed`: why it gave no network."""


Outcome = dict[str, Any] | Failed
StartView = Callable[[Training], TrainingView]
"""Opens the view of a training when it starts."""
RunTrainings = Callable[[Sequence[Training], StartView], list[Outcome]]
"""Runs trainings and returns their outcomes in the same order.

Raises:
    ValueError: a folder or the data set is not what a training needs.
"""


@dataclass(frozen=True)
class Pool:
    """The resources of several trainings."""

    address: str | None  # of a Ray cluster; None: this machine
    concurrency: int  # trainings at the same time
    cpus: float  # of a training
    gpus: float  # of a training
    threads: int | None  # of a training; None: as many as its CPUs

    @property
    def in_process(self) -> bool:
        """Whether they run one after the other in this process, without Ray."""
        return self.address is None and self.concurrency == 1


def choose_pool(
    resources: ClusterResources,
    trainings: int,
    *,
    address: str | None = None,
    concurrency: int | None = None,
    gpus: float | None = None,
    threads: int | None = None,
) -> Pool:
    """How many trainings run at the same time, and the resources of each.

    Args:
        resources: of this machine or of the cluster.
        trainings: the maximum number that could run at the same time.
        address: of a Ray cluster; None: this machine.
        concurrency: trainings at the same time; None: one for each GPU, or for each core where
            there is no GPU.
        gpus: of each training; None: an equal share.
        threads: of each training; None: its share of the cores.

    Raises:
        ValueError: there is no room for this many trainings at the same time.
    """
    if concurrency is None:
        if gpus:
            concurrency = resources.fitting(1, gpus)
        else:
            concurrency = int(resources.gpus if gpus is None else 0) or int(resources.cpus)
    concurrency = max(1, min(trainings, concurrency))
    cpus, gpus = resources.share(concurrency, gpus)
    return Pool(address, concurrency, cpus, gpus, threads)


@contextmanager
def training_runner(data: SearchData, load_test: LoadTest, pool: Pool) -> Iterator[RunTrainings]:
    """A function that runs trainings on a pool, in this process or under Ray.

    Args:
        data: the splits to train and validate on.
        load_test: returns the test set.
        pool: the resources.
    """
    received: list[int] = []
    if pool.in_process:
        device = torch.device("cuda" if pool.gpus and torch.cuda.is_available() else "cpu")
        yield lambda trainings, start_view: [
            _run_in_process(training, start_view(training), data, load_test, device, pool.threads)
            for training in trainings
        ]
    else:
        with collected_signals(received), ray_session(pool.address):
            yield _RayPool(data, load_test, pool, received).run


def _run_in_process(
    training: Training,
    view: TrainingView,
    data: SearchData,
    load_test: LoadTest,
    device: torch.device,
    threads: int | None,
) -> Outcome:
    try:
        outcome: Outcome = training.run(
            *(training.folder, data, load_test, device, threads, view),
            fine_tuned=view.fine_tuned,
        )
    except Exception as error:
        outcome = _as_failure(training, error)
    view.done(outcome.reason if isinstance(outcome, Failed) else None)
    return outcome


def _as_failure(training: Training, error: Exception) -> Failed:
    """An error that concerns this training alone; bad input is raised instead."""
    if isinstance(error, ValueError) and not isinstance(error, Diverged):
        raise error
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Failed(training, line[:200])


class _RayPool:
    """Trainings as Ray tasks, which end with the driver.

    A worker may have another file system, so it trains in a temporary folder and sends the
    files that it writes there after each epoch. The driver holds the lock of the training's
    folder and writes them there; when a worker dies, another one continues from these files.
    """

    def __init__(
        self, data: SearchData, load_test: LoadTest, pool: Pool, received: list[int]
    ) -> None:
        self._pool, self._received = pool, received
        self._data, self._load_test = ray.put(data), load_test
        self._test: list[Any] = []  # in a list, or Ray would fetch it before the task asks
        self._noticed: set[str] = set()
        self._task = ray.remote(_run_on_worker).options(
            num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=0, num_returns="streaming"
        )

    def run(self, trainings: Sequence[Training], start_view: StartView) -> list[Outcome]:
        """See `RunTrainings`."""
        outcomes: dict[int, Outcome] = {}
        attempts, views = [0] * len(trainings), dict[int, TrainingView]()
        waiting, running = list(range(len(trainings))), dict[Any, int]()
        with ExitStack() as locks:
            while waiting or running:
                while waiting and len(running) < self._pool.concurrency:
                    index = waiting.pop(0)
                    if not attempts[index]:
                        locks.enter_context(locked(trainings[index].folder))
                        views[index] = start_view(trainings[index])
                    attempts[index] += 1
                    running[self._start(trainings[index])] = index
                ready, _ = ray.wait(list(running), timeout=POLL)
                self._raise_on_signal()
                for stream in ready:
                    index = running[stream]
                    try:
                        outcome = self._receive(trainings[index], stream, views[index])
                    except ray.exceptions.RayError:  # the worker died
                        del running[stream]
                        if attempts[index] < MAX_ATTEMPTS:
                            waiting.insert(0, index)
                            continue
                        outcome = Failed(trainings[index], WORKER_DIED)
                    if outcome is not None:
                        running.pop(stream, None)
                        outcomes[index] = outcome
                        views[index].done(outcome.reason if isinstance(outcome, Failed) else None)
        return [outcomes[index] for index in range(len(trainings))]

    def _raise_on_signal(self) -> None:
        """End between two calls of Ray, which would turn the exception into another exit code."""
        if signal.SIGINT in self._received:
            raise KeyboardInterrupt
        if self._received:
            raise SystemExit(128 + self._received[0])

    def _start(self, training: Training) -> Any:
        if training.labels is not None and not self._test:
            self._test.append(ray.put(self._load_test()))
        threads = self._pool.threads or max(1, int(self._pool.cpus))
        remote = replace(training, folder=Path())
        files = read_folder(training.folder)
        return self._task.remote(remote, files, self._data, self._test, self._pool.gpus, threads)

    def _receive(self, training: Training, stream: Any, view: TrainingView) -> Outcome | None:
        """Handle the next message of a worker.

        Returns:
            The outcome of the training; None while it goes on.

        Raises:
            RayError: the worker died.
        """
        try:
            message: Message = ray.get(next(stream))
        except ray.exceptions.RayTaskError as error:
            return _as_failure(training, error.cause)
        except StopIteration:
            raise ray.exceptions.WorkerCrashedError from None
        write_changes(training.folder, message.changes)
        if message.notice and message.notice not in self._noticed:
            self._noticed.add(message.notice)
            logger.warning("%s", message.notice)
        if message.epoch is not None:
            view(*message.epoch)
        if message.fine_tuned is not None:
            view.fine_tuned(*message.fine_tuned)
        return message.outcome


class Message(NamedTuple):
    """What a worker sends after each epoch and at the end."""

    changes: Changes
    epoch: tuple[int, int, float, float] | None = None  # arguments of a `Progress`
    fine_tuned: tuple[int, int, float, float] | None = None  # the same, of fine-tuning in int8
    notice: str | None = None  # why the node trains more slowly than it could
    outcome: dict[str, Any] | None = None


def _run_on_worker(
    training: Training,
    files: Mapping[str, bytes],
    data: SearchData,
    test: Sequence[Any],
    gpus: float,
    threads: int,
) -> Iterator[Message]:
    """Train in a temporary folder, in a thread, so that each epoch is sent when it ends."""
    device = torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(prefix="nas-retrain-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_changes(folder, Changes(files, ()))
        watch, messages = FolderWatch(folder), SimpleQueue[Message | BaseException]()

        def train() -> None:
            try:
                outcome = training.run(
                    folder,
                    data,
                    lambda: ray.get(test[0]),
                    device,
                    threads,
                    lambda *epoch: messages.put(Message(watch.changes(), epoch)),
                    lambda *epoch: messages.put(Message(watch.changes(), fine_tuned=epoch)),
                )
                notice = why_slow(device)
                notice = notice and f"node {socket.gethostname()}: {notice}"
                messages.put(Message(watch.changes(), notice=notice, outcome=outcome))
            except BaseException as error:
                messages.put(error)

        threading.Thread(target=train, daemon=True).start()
        while True:
            message = messages.get()
            if isinstance(message, BaseException):
                raise message
            yield message
            if message.outcome is not None:
                return
