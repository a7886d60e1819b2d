"""A training of a network in a folder, and what it gives: measurements, or why it failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from nas.data import DatasetInfo, SearchData
from nas.deploy.latency import machine_identity, measure
from nas.space.arch import Arch
from nas.threads import cpu_threads
from nas.training import Diverged, Recipe
from nas.training.distillation import Teacher
from nas.training.fine_tune_int8 import fine_tune_int8
from nas.training.full import LoadTest, Progress, retrain
from nas.training.teacher import keep_logits


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
            The contents of `metrics.json`; without labels the `val_accuracy`, at least. With
            `export` also `export`, the contents of `export.json`, or `export_failed`: why not.
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
            try:
                metrics["export"] = export(
                    *(folder, self.export, load_test, data.train),
                    fine_tune=fine_tune if self.fine_tune_int8 else None,
                )
            except Exception as error:  # the network is trained all the same
                metrics["export_failed"] = first_line(error)
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
    diverged: bool = False  # it would again

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


def first_line(error: Exception) -> str:
    """What an error says, in one short line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def as_failure(training: Training, error: Exception) -> Failed:
    """An error that concerns this training alone; bad input is raised instead."""
    if isinstance(error, ValueError) and not isinstance(error, Diverged):
        raise error
    return Failed(training, first_line(error), diverged=isinstance(error, Diverged))
