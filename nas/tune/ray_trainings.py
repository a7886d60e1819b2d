"""Trainings under Ray: several at a time, on this machine or on a cluster."""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import ray
import torch

from nas.data import SearchData
from nas.training.distillation import Teacher
from nas.training.folder import locked
from nas.training.full import LoadTest
from nas.tune.remote_folder import Changes, FolderWatch, read_folder, write_changes
from nas.tune.searcher import MAX_ATTEMPTS, WORKER_DIED
from nas.tune.trainable import why_slow
from nas.tune.training import Failed, Outcome, StartView, Training, TrainingView, as_failure
from nas.tune.training_pool import Pool

POLL = 0.5  # seconds between two checks for signals

logger = logging.getLogger(__name__)


class RayTrainings:
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
        self._teachers: dict[str, Any] = {}  # stored once, by fingerprint of the logits
        self._test: list[Any] = []  # in a list, or Ray would fetch it before the task asks
        self._noticed: set[str] = set()
        self._task = ray.remote(_run_on_worker).options(
            num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=0, num_returns="streaming"
        )

    def run(self, trainings: Sequence[Training], start_view: StartView) -> list[Outcome]:
        """See `RunTrainings`."""
        outcomes: dict[int, Outcome] = {}
        attempts, views = [0] * len(trainings), dict[int, TrainingView]()
        waiting, running = _longest_first(trainings), dict[Any, int]()
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
        remote, teacher = replace(training, folder=Path(), teacher=None), training.teacher
        if teacher is not None and teacher.fingerprint not in self._teachers:
            self._teachers[teacher.fingerprint] = ray.put(teacher)
        stored = None if teacher is None else self._teachers[teacher.fingerprint]
        files = read_folder(training.folder)
        return self._task.remote(
            *(remote, stored, files, self._data, self._test, self._pool.gpus, self._pool.threads)
        )

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
            return as_failure(training, error.cause)
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


def _longest_first(trainings: Sequence[Training]) -> list[int]:
    """The order in which they start, so that no long one is left alone at the end.

    Each network is trained once before a second seed.
    """

    def place(index: int) -> tuple[int, int]:
        one = trainings[index]
        return one.seed, -one.macs * one.recipe.epochs

    return sorted(range(len(trainings)), key=place)


class Message(NamedTuple):
    """What a worker sends after each epoch and at the end."""

    changes: Changes
    epoch: tuple[int, int, float, float] | None = None  # arguments of a `Progress`
    fine_tuned: tuple[int, int, float, float] | None = None  # the same, of fine-tuning in int8
    notice: str | None = None  # why the node trains more slowly than it could
    outcome: dict[str, Any] | None = None


def _run_on_worker(
    training: Training,
    teacher: Teacher | None,
    files: Mapping[str, bytes],
    data: SearchData,
    test: Sequence[Any],
    gpus: float,
    threads: int,
) -> Iterator[Message]:
    """Train in a temporary folder, in a thread, so that each epoch is sent when it ends."""
    training = replace(training, teacher=teacher)
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
