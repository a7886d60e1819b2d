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
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

import ray
import torch

from nas.data import SearchData
from nas.space.arch import Arch
from nas.study.resources import ClusterResources
from nas.training import Diverged, Recipe
from nas.training.full import LoadTest, Progress, locked, retrain
from nas.tune.remote_folder import Changes, FolderWatch, read_folder, write_changes
from nas.tune.searcher import MAX_ATTEMPTS, WORKER_DIED
from nas.tune.session import collected_signals, ray_session
from nas.tune.trainable import why_slow

POLL = 0.5  # seconds between two looks at the signals that were received

logger = logging.getLogger(__name__)


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
        self,
        folder: Path,
        data: SearchData,
        load_test: LoadTest,
        device: torch.device,
        threads: int | None,
        progress: Progress | None,
    ) -> dict[str, Any]:
        """Train or continue; the contents of `metrics.json`, or the `val_accuracy` alone."""
        test = None if self.labels is None else load_test
        metrics = retrain(
            *(self.network, data, test, self.recipe, self.seed, folder),
            device=device,
            threads=threads,
            progress=progress,
            labels=self.labels,
        )
        if self.export:
            from nas.deploy.export import export

            metrics["export"] = export(folder, self.export, load_test)
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


@dataclass(frozen=True)
class Pool:
    """Where trainings run."""

    address: str | None  # of a Ray cluster
    concurrency: int  # trainings at a time
    cpus: float  # of each
    gpus: float
    threads: int | None  # of each; None: its CPUs

    @property
    def is_here(self) -> bool:
        """Whether they run in this process, one after the other."""
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
    """Trainings at a time, and the share of each.

    Args:
        resources: what they run on.
        trainings: how many there are at the most.
        address: of a Ray cluster.
        concurrency: trainings at a time; None: one on each GPU, or on each core without any.
        gpus: of each; None: an equal share.
        threads: of each; None: its share of the cores.

    Raises:
        ValueError: so many trainings do not fit at once.
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
def workers(data: SearchData, load_test: LoadTest, pool: Pool) -> Iterator[Run]:
    """What runs trainings, so many at a time, each on its share of the cores and GPUs.

    Args:
        data: the splits to train and validate on.
        load_test: gives the test set.
        pool: where they run.
    """
    received: list[int] = []
    if pool.is_here:
        device = torch.device("cuda" if pool.gpus and torch.cuda.is_available() else "cpu")
        yield lambda trainings, shows: [
            _run_here(training, shows(training), data, load_test, device, pool.threads)
            for training in trainings
        ]
    else:
        with collected_signals(received), ray_session(pool.address):
            yield _Workers(data, load_test, pool, received).run


def _run_here(
    training: Training,
    show: Show,
    data: SearchData,
    load_test: LoadTest,
    device: torch.device,
    threads: int | None,
) -> Outcome:
    try:
        outcome: Outcome = training.run(training.folder, data, load_test, device, threads, show)
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
    """Ray tasks, which a driver that ends takes with it.

    A worker may have another file system, so each trains in a folder of its own, and sends
    what it writes there after each epoch. The driver, which holds the lock of the training's
    folder, writes it there; when a worker is lost, another one goes on from that.
    """

    def __init__(
        self, data: SearchData, load_test: LoadTest, pool: Pool, received: list[int]
    ) -> None:
        self._pool, self._received = pool, received
        self._data, self._load_test = ray.put(data), load_test
        self._test: list[Any] = []  # in a list, so that a task is given it when it asks
        self._noticed: set[str] = set()
        self._task = ray.remote(_run_there).options(
            num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=0, num_returns="streaming"
        )

    def run(self, trainings: Sequence[Training], shows: Shows) -> list[Outcome]:
        """See `Run`."""
        outcomes: dict[int, Outcome] = {}
        attempts, shown = [0] * len(trainings), dict[int, Show]()
        waiting, running = list(range(len(trainings))), dict[Any, int]()
        with ExitStack() as locks:
            while waiting or running:
                while waiting and len(running) < self._pool.concurrency:
                    index = waiting.pop(0)
                    if not attempts[index]:
                        locks.enter_context(locked(trainings[index].folder))
                        shown[index] = shows(trainings[index])
                    attempts[index] += 1
                    running[self._start(trainings[index])] = index
                ready, _ = ray.wait(list(running), timeout=POLL)
                self._heed_signals()
                for stream in ready:
                    index = running[stream]
                    try:
                        outcome = self._take(trainings[index], stream, shown[index])
                    except ray.exceptions.RayError:  # the worker is gone
                        del running[stream]
                        if attempts[index] < MAX_ATTEMPTS:
                            waiting.insert(0, index)
                            continue
                        outcome = Failed(trainings[index], WORKER_DIED)
                    if outcome is not None:
                        running.pop(stream, None)
                        outcomes[index] = outcome
                        shown[index].done(outcome.reason if isinstance(outcome, Failed) else None)
        return [outcomes[index] for index in range(len(trainings))]

    def _heed_signals(self) -> None:
        """Leave where no call of Ray's is cut in two: it would make another exit of it."""
        if signal.SIGINT in self._received:
            raise KeyboardInterrupt
        if self._received:
            raise SystemExit(128 + self._received[0])

    def _start(self, training: Training) -> Any:
        if training.labels is not None and not self._test:
            self._test.append(ray.put(self._load_test()))
        threads = self._pool.threads or max(1, int(self._pool.cpus))
        there = replace(training, folder=Path())
        files = read_folder(training.folder)
        return self._task.remote(there, files, self._data, self._test, self._pool.gpus, threads)

    def _take(self, training: Training, stream: Any, show: Show) -> Outcome | None:
        """Take what a worker has sent next; its outcome, None where it goes on.

        Raises:
            RayError: the worker is gone.
        """
        try:
            sent: Sent = ray.get(next(stream))
        except ray.exceptions.RayTaskError as error:
            return _failed(training, error.cause)
        except StopIteration:
            raise ray.exceptions.WorkerCrashedError from None
        write_changes(training.folder, sent.changes)
        if sent.notice and sent.notice not in self._noticed:
            self._noticed.add(sent.notice)
            logger.warning("%s", sent.notice)
        if sent.epoch is not None:
            show(*sent.epoch)
        return sent.outcome


class Sent(NamedTuple):
    """What a worker sends after an epoch, and at its end."""

    changes: Changes
    epoch: tuple[int, int, float, float] | None = None  # arguments of a `Progress`
    notice: str | None = None  # what keeps the node from training faster
    outcome: dict[str, Any] | None = None


def _run_there(
    training: Training,
    files: Mapping[str, bytes],
    data: SearchData,
    test: Sequence[Any],
    gpus: float,
    threads: int,
) -> Iterator[Sent]:
    """Train in a folder of this node, in a thread, so that each epoch can be sent as it ends."""
    device = torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(prefix="nas-retrain-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_changes(folder, Changes(files, ()))
        watch, sent = FolderWatch(folder), SimpleQueue[Sent | BaseException]()

        def train() -> None:
            try:
                outcome = training.run(
                    folder,
                    data,
                    lambda: ray.get(test[0]),
                    device,
                    threads,
                    lambda *epoch: sent.put(Sent(watch.changes(), epoch)),
                )
                notice = why_slow(device)
                notice = notice and f"node {socket.gethostname()}: {notice}"
                sent.put(Sent(watch.changes(), notice=notice, outcome=outcome))
            except BaseException as error:
                sent.put(error)

        threading.Thread(target=train, daemon=True).start()
        while True:
            one = sent.get()
            if isinstance(one, BaseException):
                raise one
            yield one
            if one.outcome is not None:
                return
