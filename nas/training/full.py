"""Full training of one network, in a folder from which an interrupted training continues."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.data import Batches, DatasetInfo, SearchData, Split
from nas.files import write_atomic, write_json
from nas.space.arch import Arch
from nas.training import checkpoint
from nas.training.class_results import class_results
from nas.training.distillation import Teacher
from nas.training.evaluate import evaluation_batch, predict
from nas.training.folder import (
    HISTORY,
    METRICS,
    describe,
    finished_metrics,
    locked,
    require_same,
    write_history,
)
from nas.training.pretrained import DESCRIPTION, WEIGHTS, Description
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer

CHECKPOINT = "checkpoint.pt"

Progress = Callable[[int, int, float, float], None]
"""Called after each epoch with epoch, epochs, training loss and validation accuracy."""
LoadTest = Callable[[], Split]
"""Returns the test set."""
Measure = Callable[[nn.Module], Mapping[str, Any]]
"""Measures a finished network; returns plain values."""


def retrain(
    network: Arch | str,
    data: SearchData,
    load_test: LoadTest | None,
    recipe: Recipe,
    seed: int,
    folder: Path,
    *,
    device: torch.device,
    threads: int | None = None,
    progress: Progress | None = None,
    labels: Mapping[str, Any] | None = None,
    measure: Measure | None = None,
    teacher: Teacher | None = None,
) -> dict[str, Any]:
    """Train in `folder`, or continue there, and evaluate the test set once, at the end.

    A network that is finished with the same settings is not trained again. The folder of a
    finished network holds `model.safetensors` (the averaged weights where the recipe averages),
    `arch.json`, `metrics.json` and `history.csv`, each written whole or not at all.

    Args:
        network: an architecture, or the name of a reference network.
        data: the splits to train and validate on.
        load_test: returns the test set, at the size of the training images; None leaves the test
            set alone, and the folder keeps the checkpoint of the last epoch, from which a call
            with a test set goes on.
        recipe: the whole schedule.
        seed: seed of the weights, of the order of the images and of their augmentation.
        folder: folder of this network alone; made where it is missing.
        device: where to train.
        threads: CPU threads, for the whole process; None leaves them as they are.
        progress: called after each epoch.
        labels: plain values that `metrics.json` also holds.
        measure: called with the finished network; `metrics.json` holds what it returns, too.
        teacher: the one that the recipe names.

    Returns:
        The contents of `metrics.json`. Without a `load_test`: the `val_accuracy`, at least.

    Raises:
        ValueError: the folder holds a network with other settings, is in use or damaged,
            or the data set is missing; the recipe names another teacher, or the training began
            with other logits.
        Diverged: the loss is no longer finite.
    """
    given = None if teacher is None else teacher.network
    if given != recipe.teacher:
        raise ValueError(f"teacher: {given}; accepted: {recipe.teacher}, as the recipe says")
    description = describe(network, data.info, recipe, seed)
    with locked(folder):
        finished = finished_metrics(folder, description)
        if finished is not None:
            return finished
        run = _Run(description, data, recipe, folder, device, threads, teacher)
        run.train(progress)
        if load_test is None:
            return {"val_accuracy": run.history[-1]["val_accuracy"]}
        return run.finish(load_test, labels or {}, measure)


class _Run:
    """The training of one network, which saves a checkpoint after each epoch."""

    def __init__(
        self,
        description: Description,
        data: SearchData,
        recipe: Recipe,
        folder: Path,
        device: torch.device,
        threads: int | None,
        teacher: Teacher | None,
    ) -> None:
        self.teacher = teacher
        self.description, self.info, self.folder = description, data.info, folder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(description.seed)
            network = description.build()
        self.trainer = Trainer(
            *(network, data, recipe),
            seed=description.seed,
            device=device,
            threads=threads,
            teacher=teacher,
        )
        self.history: list[dict[str, Any]] = []
        state = checkpoint.load(folder / CHECKPOINT)
        if state is not None:
            stored = Description.model_validate(state["settings"] | {"versions": {}})
            require_same(stored.settings(), description, folder)
            if state.get("logits") != self._logits:
                raise ValueError(
                    f"{folder}: its training began with other logits of the teacher; accepted: "
                    "the same, or that folder moved away"
                )
            self.trainer.load_state_dict(state["trainer"])
            self.history = state["history"]
        write_json(folder / DESCRIPTION, description.model_dump(mode="json"))

    @property
    def _logits(self) -> str | None:
        return None if self.teacher is None else self.teacher.fingerprint

    @property
    def seconds(self) -> float:
        """Training time so far, the runs before an interruption included."""
        return float(self.history[-1]["seconds"]) if self.history else 0.0

    def train(self, progress: Progress | None) -> None:
        """Train the epochs of the schedule that are left."""
        epochs = self.trainer.recipe.epochs
        while self.trainer.epoch < epochs:
            loss, val_accuracy = self.train_epoch()
            if progress is not None:
                progress(self.trainer.epoch, epochs, loss, val_accuracy)

    def train_epoch(self) -> tuple[float, float]:
        """Train an epoch and save it; returns its training loss and validation accuracy."""
        start, before = time.perf_counter(), self.seconds
        loss = self.trainer.train_epoch()
        val_accuracy = self.trainer.evaluate()
        epoch = self.trainer.epoch
        self.history.append(
            {
                "epoch": epoch,
                "train_loss": loss,
                "val_accuracy": val_accuracy,
                "seconds": before + time.perf_counter() - start,
            }
        )
        state = {
            "settings": self.description.settings(),
            "trainer": self.trainer.state_dict(),
            "logits": self._logits,
            "history": self.history,
        }
        checkpoint.save(self.folder / CHECKPOINT, state)
        write_history(self.folder / HISTORY, self.history)
        return loss, val_accuracy

    def finish(
        self, load_test: LoadTest, labels: Mapping[str, Any], measure: Measure | None = None
    ) -> dict[str, Any]:
        """Evaluate the test set and write the network; `metrics.json` is written last."""
        info, device, recipe = self.info, self.trainer.device, self.trainer.recipe
        tensors = {
            name: tensor.contiguous().cpu()
            for name, tensor in self.trainer.evaluated.state_dict().items()
        }
        network = self.description.build()  # the form that `load_pretrained` returns
        network.load_state_dict(tensors)
        network.to(device).to(memory_format=torch.channels_last)
        test = load_test()
        batches = Batches(test, info, evaluation_batch(info, device), device)
        balanced = recipe.balanced
        classes = class_results(batches.labels, predict(network, batches), info.num_classes)
        metrics = {
            **labels,
            "val_accuracy": self.history[-1]["val_accuracy"],
            "test_accuracy": _accuracy(classes, balanced),
            "test_images": len(test),
            **({"independent_images": test.balanced_size()} if balanced else {}),
            "macs": count_macs(network, info, device),
            "params": sum(p.numel() for p in network.parameters()),
            "seconds": self.seconds,
            "epochs": self.trainer.epoch,
            "seed": self.description.seed,
            **({"teacher_seconds": self.teacher.seconds} if self.teacher else {}),
            **classes,
            **(measure(network) if measure is not None else {}),
        }
        weights = save_tensors(tensors)
        described = self.description.model_copy(
            update={"weights_sha256": hashlib.sha256(weights).hexdigest()}
        )
        write_atomic(self.folder / WEIGHTS, weights)
        write_json(self.folder / DESCRIPTION, described.model_dump(mode="json"))
        write_history(self.folder / HISTORY, self.history)
        write_json(self.folder / METRICS, metrics)
        checkpoint.remove(self.folder / CHECKPOINT)
        return metrics


def _accuracy(classes: Mapping[str, Any], balanced: bool) -> float:
    """Accuracy from `class_results`; if balanced, the mean over the classes that have images."""
    images, right = classes["class_images"], classes["class_right"]
    if not balanced:
        return float(sum(right) / sum(images))
    return fmean(r / n for r, n in zip(right, images, strict=True) if n)


@torch.inference_mode()
def count_macs(network: nn.Module, info: DatasetInfo, device: torch.device) -> int:
    """Multiply-adds of one forward pass of one image, by PyTorch's own counter."""
    image = torch.zeros(1, info.in_channels, info.image_size, info.image_size, device=device)
    with FlopCounterMode(display=False) as counter:
        network.eval()(image)
    return int(counter.get_total_flops()) // 2
