"""Quantisation-aware fine-tuning: a trained network is trained on as it computes in int8.

The forward pass is that of `nas.models.fake_quantise`: weights and activations are rounded, and
gradients pass straight through (Jacob et al., arXiv 1712.05877, section 3). As Nagel et al. (arXiv
2106.08295, section 5) advise, norms are folded before, ranges come from calibration, and the
learning rate is small and falls to zero. Ranges are calibrated again before each epoch, as export
does in the end. The optimizer is Adam, whose steps do not depend on the scale of a weight: folded
channels differ in scale, and no norm makes up for it.

Decisions use the validation split, which neither the training nor the fine-tuning learns from:
training images that a network knows by heart hide what it loses. Test images are not used.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nas.data import Batches, SearchData
from nas.models import DyClotNet
from nas.models.fake_quantise import QuantisedDyClotNet, calibration_images, fake_quantise
from nas.models.fold import fold
from nas.threads import cpu_threads
from nas.training.evaluate import accuracy, evaluation_batch
from nas.training.full import Progress
from nas.training.recipe import Recipe
from nas.training.trainer import class_weights

ACCEPTED_LOSS = 0.01  # of accuracy, from float to int8; a greater one is fine-tuned
EPOCHS_SHARE = 0.1  # of the epochs of the recipe
LEARNING_RATE = 3e-4  # of the first step


def fine_tune_int8(
    network: nn.Module,
    data: SearchData,
    recipe: Recipe,
    seed: int,
    *,
    device: torch.device,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[nn.Module | None, dict[str, Any]]:
    """Fine-tune a network in int8 where quantisation costs more than `ACCEPTED_LOSS`.

    It learns from labels alone: the recipe's teacher and mixup are left out.

    Args:
        network: trained, as `load_pretrained` returns it; it is copied, not changed.
        data: the splits, at the size of the exported network's images.
        recipe: of the training; its tenth part of the epochs, at least one, are trained.
        seed: seed of the order of the images and of their augmentation.
        device: where to train.
        threads: CPU threads, for the whole process meanwhile; None leaves them as they are.
        progress: called after each epoch, with the accuracy in int8.

    Returns:
        The fine-tuned network, folded, in float, on the CPU: an int8 file is made of it as of
        any. It is None where none was needed, or where it is no better than the trained one.

        And what was measured: `val_images`, `float_accuracy` and `static_accuracy`, which is the
        one in int8 before; `epochs` and `seconds`, 0 where none were needed; `accuracy` in int8
        after them, None without any and where the loss was no finite number; `kept`, whether a
        network is returned. Of a network that is no `DyClotNet` it is `skipped` alone, the reason.
    """
    if not isinstance(network, DyClotNet):
        return None, {"skipped": f"{type(network).__name__} is none of the search space"}
    with nullcontext() if threads is None else cpu_threads(threads):
        tuning = _FineTuning(network, data, recipe, seed, device)
        measured: dict[str, Any] = {
            "val_images": len(data.val),
            "float_accuracy": tuning.accuracy(in_int8=False),
            "static_accuracy": tuning.accuracy(),
            "accuracy": None,
            "epochs": 0,
            "seconds": 0.0,
            "kept": False,
        }
        loss = round(measured["float_accuracy"] - measured["static_accuracy"], 9)
        if loss <= ACCEPTED_LOSS:
            return None, measured
        start = time.perf_counter()
        for epoch in range(1, tuning.epochs + 1):
            loss = tuning.train_epoch()
            measured["epochs"] = epoch
            if not math.isfinite(loss):
                measured["accuracy"] = None
                break
            measured["accuracy"] = tuning.accuracy()
            if progress is not None:
                progress(epoch, tuning.epochs, loss, measured["accuracy"])
        measured["seconds"] = time.perf_counter() - start
        measured["kept"] = (measured["accuracy"] or 0.0) > measured["static_accuracy"]
        return (tuning.folded.cpu() if measured["kept"] else None), measured


class _FineTuning:
    """The folded copy of a network, and what trains it."""

    def __init__(
        self,
        network: DyClotNet,
        data: SearchData,
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ) -> None:
        info, ranges = data.info, calibration_images(data.train)
        self.folded = fold(network).to(device).to(memory_format=torch.channels_last)
        self.epochs = max(1, round(EPOCHS_SHARE * recipe.epochs))
        self._quantised = QuantisedDyClotNet(self.folded).requires_grad_()
        [(self._ranges_BCHW, _)] = Batches(ranges, info, len(ranges), device)
        self._val = Batches(data.val, info, evaluation_batch(info, device), device)
        self._train = Batches(
            *(data.train, info, recipe.batch_size, device),
            generator=torch.Generator().manual_seed(seed),
            cutout=recipe.cutout,
        )
        self._recipe = recipe.model_copy(update={"learning_rate": LEARNING_RATE, "warmup": 0.0})
        self._class_weights_K = (
            class_weights(self._train.class_counts).to(device) if recipe.balanced else None
        )
        self._optimizer = torch.optim.Adam(self._quantised.parameters())
        self._step = 0

    def accuracy(self, *, in_int8: bool = True) -> float:
        """Accuracy on the validation split, in int8 or in float."""
        network = self.folded
        if in_int8:
            network = fake_quantise(network, self._ranges_BCHW)
        return accuracy(network, self._val, balanced=self._recipe.balanced)

    def train_epoch(self) -> float:
        """Train one epoch; returns its mean loss."""
        self._quantised.calibrate(self._ranges_BCHW)
        self._quantised.train()
        steps, total = len(self._train), 0.0
        for images_BCHW, labels_B in self._train:
            for group in self._optimizer.param_groups:
                group["lr"] = self._recipe.learning_rate_at(self._step, self.epochs * steps)
            loss = F.cross_entropy(
                self._quantised(images_BCHW),
                labels_B,
                self._class_weights_K,
                label_smoothing=self._recipe.label_smoothing,
            )
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._step += 1
            total += float(loss.detach())
        return total / steps
