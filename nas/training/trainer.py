"""Train one network by a recipe, epoch by epoch.

Shape suffixes: B images of a batch, C channels, H x W pixels, K classes; V views of N images.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from nas.data.batches import Batches
from nas.data.info import DatasetInfo, SearchData
from nas.data.splits import Split, resize, thin_out
from nas.format import format_number
from nas.models import DyClotNet
from nas.models.fake_quantise import calibration_images, fake_quantise
from nas.models.fold import fold
from nas.models.native.fused import use_fused
from nas.space.arch import Arch
from nas.training.cuda_graph import StepGraph
from nas.training.distillation import WEIGHT, Teacher, distillation_loss
from nas.training.ema import WeightAverage
from nas.training.evaluate import evaluate_images, evaluation_batch
from nas.training.recipe import Recipe

FOLDED_PIXELS = 100_000  # in a validation split; below it folding costs more than it saves
CALIBRATION_IMAGES = 128  # for the statistics of batch norms; more images are no better
SUBSET_SEED = 0  # all trials of a study train on the same subset, so that they compare

_Number = float | Tensor  # a 0-d tensor on a GPU, where a number would wait for the device


class Diverged(ValueError):
    """The training loss is no longer a finite number."""


def build(arch: Arch, info: DatasetInfo, seed: int) -> DyClotNet:
    """The network of `arch` for a data set, initialised from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DyClotNet(arch, info.in_channels, info.num_classes)


class Trainer:
    """Trains a network on a data set; the outcome depends on the arguments alone.

    On the CPU two trainers with the same arguments produce the same weights bit for bit, also
    when one of them was interrupted, saved with `state_dict` and continued.

    Args:
        network: moved to `device` and trained in place.
        data: training and validation split, at the data set's own image size.
        recipe: the whole schedule; `train_epoch` may be called `recipe.epochs` times.
        seed: seed of the order of the images and of their augmentation.
        device: where to train.
        threads: CPU threads, for the whole process; None leaves them as they are.
        graphed: whether a GPU runs a step as one CUDA graph, not kernel by kernel.
        teacher: whose logits are learned from beside the labels; None: the labels alone.
        quantized: whether the network, a `DyClotNet`, is evaluated as it computes in int8; see
            `nas.models.fake_quantise`. It trains in float alike.

    Attributes:
        epoch: epochs trained.
        right: [N], which validation images the last `evaluate` found classified right.
    """

    def __init__(
        self,
        network: nn.Module,
        data: SearchData,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        threads: int | None = None,
        graphed: bool = True,
        teacher: Teacher | None = None,
        quantized: bool = False,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.recipe = recipe
        self.device = device
        self.epoch = 0
        self.right: NDArray[np.bool_] = np.zeros(0, np.bool_)
        # Convolutions run 2-4 times faster channels-last, on the CPU too.
        self.network = network.to(device).to(memory_format=torch.channels_last)
        # The kernels, which need a C++ compiler, are 1.6-1.9 times faster.
        uses_kernels = device.type == "cpu" and use_fused(self.network)
        data = shorten(data, recipe)
        self._taught = teacher is not None
        if teacher is not None and teacher.logits.shape[1] != len(data.train):
            raise ValueError(
                f"logits of the teacher for {format_number(teacher.logits.shape[1], 'image')}; "
                f"accepted: for {format_number(len(data.train), 'training image')}"
            )
        self._generator = torch.Generator().manual_seed(seed)
        self._train = Batches(
            *(data.train, data.info, recipe.batch_size, device),
            generator=self._generator,
            cutout=recipe.cutout,
            logits_VNK=None if teacher is None else teacher.logits,
        )
        self._class_weights_K = (
            class_weights(self._train.class_counts).to(device) if recipe.balanced else None
        )
        statistics = max(CALIBRATION_IMAGES, data.info.num_classes)
        if device.type == "cuda":  # cuDNN takes long over the first batch of a new size
            statistics = max(statistics, recipe.batch_size)
        some = thin_out(data.train, statistics, SUBSET_SEED)
        self._calibration = Batches(some, data.info, recipe.batch_size, device)
        evaluated = evaluation_batch(data.info, device, recipe.batch_size)
        self._val = Batches(data.val, data.info, evaluated, device)
        ranges = calibration_images(data.train) if quantized else None
        self._ranges = None if ranges is None else Batches(ranges, data.info, len(ranges), device)
        self._folds = uses_kernels and len(data.val) * data.info.image_size**2 >= FOLDED_PIXELS
        self._optimizer = torch.optim.SGD(
            _parameter_groups(self.network, recipe.weight_decay),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            fused=device.type in ("cpu", "cuda"),
        )
        self._average = None if recipe.ema is None else WeightAverage(self.network, recipe.ema)
        self._graph = StepGraph(device) if graphed and device.type == "cuda" else None

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: the averaged one where the recipe averages."""
        return self.network if self._average is None else self._average.network

    def train_epoch(self) -> float:
        """Train one epoch; waits for the device at its end, and to record the CUDA graph.

        Returns:
            The mean training loss.

        Raises:
            Diverged: the loss is not finite.
        """
        assert self.epoch < self.recipe.epochs
        self.network.train()
        steps = len(self._train)
        done, all_steps = self.epoch * steps, self.recipe.epochs * steps
        schedule = [self.recipe.learning_rate_at(done + i, all_steps) for i in range(steps)]
        numbers = [self._each_step(schedule)]
        if self.recipe.mixup:
            numbers.append(self._each_step(self._draw_shares(steps)))
        total = torch.zeros((), device=self.device)
        for index, batch in enumerate(self._train):
            total += self._run_step(*batch, *(each[index] for each in numbers))
            if self._average is not None:
                self._average.update(self.network)
        self._set_rate(schedule[-1])  # a number, also where the steps took a tensor
        self.epoch += 1
        mean = float(total) / steps
        if not math.isfinite(mean):
            raise Diverged(f"the loss is {mean} in epoch {self.epoch}")
        return mean

    def _run_step(self, *inputs: Any) -> Tensor:
        if self._graph is None:
            return self._train_step(*inputs)
        return self._graph.run(self._train_step, *inputs)

    def _train_step(self, images_BCHW: Tensor, labels_B: Tensor, *inputs: Any) -> Tensor:
        """Train on a batch; returns its loss.

        `inputs` are the teacher's logits [B, K] where there is a teacher, the learning rate, and
        in mixup the weight of the batch's own images.
        """
        taught_BK, rate, *others = inputs if self._taught else (None, *inputs)
        share: _Number | None = others[0] if others else None
        self._set_rate(rate)
        with _autocast(self.device):
            logits_BK = self.network(_mix(images_BCHW, share))
        loss = self._loss(logits_BK.float(), labels_B, share, taught_BK)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self._optimizer.step()
        return loss.detach()

    def _set_rate(self, rate: _Number) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _loss(
        self,
        logits_BK: Tensor,
        labels_B: Tensor,
        share: _Number | None,
        taught_BK: Tensor | None = None,
    ) -> Tensor:
        """The loss with the targets of the images and, in mixup, of those mixed in."""
        loss = self._image_loss(logits_BK, labels_B, taught_BK)
        if share is not None:
            flipped_BK = None if taught_BK is None else taught_BK.flip(0)
            other = self._image_loss(logits_BK, labels_B.flip(0), flipped_BK)
            loss = share * loss + (1 - share) * other
        return loss

    def _image_loss(self, logits_BK: Tensor, labels_B: Tensor, taught_BK: Tensor | None) -> Tensor:
        """Cross-entropy with the labels and, with a teacher, the divergence from its logits."""
        smoothing, weights_K = self.recipe.label_smoothing, self._class_weights_K
        loss = F.cross_entropy(logits_BK, labels_B, weights_K, label_smoothing=smoothing)
        if taught_BK is None:
            return loss
        weights_B = None if weights_K is None else weights_K[labels_B]
        taught = distillation_loss(logits_BK, taught_BK, weights_B)
        return (1 - WEIGHT) * loss + WEIGHT * taught

    def _draw_shares(self, steps: int) -> list[float]:
        """For each batch the weight of its own images in mixup."""
        seed = torch.randint(2**62, (), generator=self._generator)  # torch's own Beta takes none
        alpha = self.recipe.mixup
        shares: list[float] = np.random.default_rng(int(seed)).beta(alpha, alpha, steps).tolist()
        return shares

    def _each_step(self, values: list[float]) -> list[float] | Tensor:
        """One number for each step; on a GPU in its memory, so that no step waits for a copy."""
        if self.device.type != "cuda":
            return values
        return torch.tensor(values).pin_memory().to(self.device, non_blocking=True)

    def evaluate(self) -> float:
        """Accuracy on the validation split, in [0, 1]; the training state does not change."""
        network = self.evaluated
        if self._average is None and self.epoch < self.recipe.epochs:
            network = self._calibrated()
        if self._ranges is not None:
            [(images_BCHW, _)] = self._ranges
            network = fake_quantise(network, images_BCHW)
        elif self._folds:
            network = fold(network)
            use_fused(network)
        with _autocast(self.device):
            share, right_N = evaluate_images(network, self._val, balanced=self.recipe.balanced)
        self.right = right_N.numpy()
        return share

    @torch.no_grad()
    def _calibrated(self) -> nn.Module:
        """A copy of the network whose batch norms have the statistics of its present weights.

        While the learning rate is high the running ones lag behind the weights, and an
        accuracy with them says little of the network: on the digits, after 2 of 8 epochs,
        its rank correlation with the final one is 0.38 over 24 architectures, and 0.72 with
        these statistics. In the end the weights hardly move and the two agree.
        """
        network = copy.deepcopy(self.network)
        # Batches count alike, and one that is left over may be of a single image.
        whole = self._calibration.batch_size
        batches = (images for images, _ in self._calibration if len(images) == whole)
        with _autocast(self.device):
            update_bn(batches, network)
        return network

    def state_dict(self) -> dict[str, Any]:
        """The state that a continued training needs, as tensors and plain values."""
        average = self._average
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "average": None if average is None else average.network.state_dict(),
            "updates": 0 if average is None else average.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of a trainer with the same recipe and seed."""
        self.network.load_state_dict(state["network"])
        # The optimizer would share the state's tensors.
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        if self._graph is not None:
            self._graph = StepGraph(self.device)  # the optimizer's tensors are others now
        self._generator.set_state(state["generator"])
        if self._average is not None:
            self._average.network.load_state_dict(state["average"])
            self._average.updates = state["updates"]
        self.epoch = state["epoch"]


def class_weights(counts_K: Tensor) -> Tensor:
    """Weights of the classes in the loss; over the training images their mean is 1."""
    present = counts_K > 0
    return torch.where(present, counts_K.sum() / (present.sum() * counts_K.clamp(min=1)), 0.0)


def _mix(images_BCHW: Tensor, share: _Number | None) -> Tensor:
    """Mixup (Zhang et al., arXiv 1710.09412) with the batch in reverse, whose order is random."""
    return images_BCHW if share is None else images_BCHW.lerp(images_BCHW.flip(0), 1 - share)


def shorten(data: SearchData, recipe: Recipe) -> SearchData:
    """The splits as the recipe trains on them: its subsets, at its image size."""
    size = recipe.trained_size(data.info.image_size)
    info = data.info.resized(size)

    def subset(split: Split, images: int | None) -> Split:
        if images is not None:  # with thousands of classes the subset holds one image of each
            split = thin_out(split, max(images, info.num_classes), SUBSET_SEED)
        return resize(split, size)

    return SearchData(
        info, subset(data.train, recipe.train_images), subset(data.val, recipe.val_images)
    )


def _autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU; on the CPU it is no faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; scales, shifts and biases, which have one axis, do not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
