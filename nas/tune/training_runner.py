"""Runs trainings: one after the other in this process, or several at a time under Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nas.data import SearchData
from nas.training.full import LoadTest
from nas.tune.ray_trainings import RayTrainings
from nas.tune.session import collected_signals, ray_session
from nas.tune.training import Failed, Outcome, RunTrainings, Training, TrainingView, as_failure
from nas.tune.training_pool import Pool


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
            yield RayTrainings(data, load_test, pool, received).run


def _run_in_process(
    training: Training,
    view: TrainingView,
    data: SearchData,
    load_test: LoadTest,
    device: torch.device,
    threads: int,
) -> Outcome:
    try:
        outcome: Outcome = training.run(
            *(training.folder, data, load_test, device, threads, view),
            fine_tuned=view.fine_tuned,
        )
    except Exception as error:
        outcome = as_failure(training, error)
    view.done(outcome.reason if isinstance(outcome, Failed) else None)
    return outcome
