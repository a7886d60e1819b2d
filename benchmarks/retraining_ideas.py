"""Ideas for the recipe of full training: what each changes in a `Trainer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from nas.data import Batches, SearchData
from nas.data.splits import resize
from nas.training import Recipe, Trainer
from nas.training.distillation import Teacher

MUON_STEPS = 3  # of Newton and Schulz's iteration
MUON_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LARGE = 28  # pixels of Fashion-MNIST's images


class IdeaTrainer(Trainer):
    """A trainer whose batches or optimizer an idea replaces before the first epoch."""

    def __init__(
        self,
        idea: Idea,
        network: nn.Module,
        data: SearchData,
        recipe: Recipe,
        seed: int,
        teacher: Teacher | None,
    ) -> None:
        super().__init__(
            *(network, data, recipe),
            seed=seed,
            device=torch.device("cpu"),
            threads=1,
            teacher=teacher,
        )
        self._data, self._sizes = data, idea.sizes
        self._of_size = {data.info.image_size: self._train}
        if idea.crop is not None or idea.flip is not None:
            crop = data.info.crop if idea.crop is None else idea.crop
            flip = data.info.flip if idea.flip is None else idea.flip
            self._train = self._batches(
                replace(data, info=replace(data.info, crop=crop, flip=flip))
            )
        if idea.alternate:
            self._train = AlternatingFlips(
                *(data.train, data.info, recipe.batch_size, self.device),
                generator=self._generator,
            )
        if idea.optimizer is not None:
            self._optimizer = idea.optimizer(self.network, self._optimizer)

    def train_epoch(self) -> float:
        """At the size that the idea has for the epoch."""
        if self._sizes:
            size = self._sizes[self.epoch * len(self._sizes) // self.recipe.epochs]
            if size not in self._of_size:
                smaller = replace(
                    self._data,
                    info=self._data.info.resized(size),
                    train=resize(self._data.train, size),
                )
                self._of_size[size] = self._batches(smaller)
            self._train = self._of_size[size]
        return super().train_epoch()

    def _batches(self, data: SearchData) -> Batches:
        return Batches(
            *(data.train, data.info, self.recipe.batch_size, self.device),
            generator=self._generator,
        )


class AlternatingFlips(Batches):
    """Batches that mirror each image in every second epoch (Jordan, arXiv 2404.00498, 3.6)."""

    _mirrored: Tensor | None = None  # [N] by image, in the epoch before

    def _draw(self) -> list[Tensor]:
        order_N, rows_N, columns_N, flipped_N, *corners_N = super()._draw()
        if self._mirrored is None:
            self._mirrored = torch.empty_like(flipped_N)
            self._mirrored[order_N] = flipped_N
        else:
            self._mirrored = ~self._mirrored
        return [order_N, rows_N, columns_N, self._mirrored[order_N], *corners_N]


class Muon(torch.optim.SGD):
    """SGD whose steps of 1x1 convolutions are orthogonalised (Jordan et al., 2024).

    Args:
        network: trained.
        sgd: the optimizer that it replaces; its groups and settings are taken over.
        rate: of the orthogonal steps, at the peak of the schedule.
    """

    def __init__(self, network: nn.Module, sgd: torch.optim.SGD, rate: float) -> None:
        matrices = [
            weight
            for weight in network.parameters()
            if weight.ndim == 4 and weight.shape[2:] == (1, 1) and weight.shape[1] > 1
        ]
        ours = {id(weight) for weight in matrices}
        groups = [
            group | {"params": [weight for weight in group["params"] if id(weight) not in ours]}
            for group in sgd.param_groups
        ]
        super().__init__(groups, lr=sgd.defaults["lr"], momentum=0.9, nesterov=True, fused=True)
        self._matrices = [(weight, torch.zeros_like(weight)) for weight in matrices]
        self._share = rate / float(sgd.defaults["lr"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Also of the matrices."""
        super().zero_grad(set_to_none)
        for weight, _ in self._matrices:
            weight.grad = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step at the present learning rate."""
        super().step(closure)
        rate = float(self.param_groups[0]["lr"]) * self._share
        for weight, momentum in self._matrices:
            assert weight.grad is not None
            momentum.mul_(0.9).add_(weight.grad)
            update = orthogonal(weight.grad.add(momentum, alpha=0.9).flatten(1))
            weight.add_(update.view_as(weight), alpha=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with orthogonal rows or columns, by Newton and Schulz."""
    a, b, c = MUON_COEFFICIENTS
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(MUON_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


@dataclass(frozen=True)
class Idea:
    """One thing, or several, that differ from the recipe `full`."""

    fields: dict[str, Any] = field(default_factory=dict)  # of the recipe
    crop: int | None = None  # pixels; None: those of the data set
    flip: bool | None = None  # likewise
    alternate: bool = False  # flips: each image in every second epoch, not at random
    taught: bool = False  # by a teacher
    sizes: tuple[int, ...] = ()  # of the images, in equal parts of the epochs
    optimizer: Callable[[nn.Module, torch.optim.SGD], torch.optim.SGD] | None = None


def idea_trainer(
    idea: Idea,
    network: nn.Module,
    data: SearchData,
    recipe: Recipe,
    seed: int,
    teacher: Teacher | None = None,
) -> Trainer:
    """A trainer that does what the idea says."""
    return IdeaTrainer(idea, network, data, recipe, seed, teacher)


def _muon(rate: float) -> Callable[[nn.Module, torch.optim.SGD], torch.optim.SGD]:
    return lambda network, sgd: Muon(network, sgd, rate)


# What ideas are compared with: the recipe `full`, and Fashion-MNIST as data, as they once were.
BASE = "full"
BASE_FIELDS: dict[str, Any] = {"ema": 0.998, "clip_norm": None}
BASE_CROP, BASE_FLIP = 2, True
BATCH_64 = {"batch_size": 64, "learning_rate": 0.1}
BATCH_32 = {"batch_size": 32, "learning_rate": 0.05}
IDEAS: dict[str, Idea] = {
    BASE: Idea(),
    "a teacher": Idea(taught=True),
    "no averaging": Idea({"ema": None}),
    "alternating flips": Idea(alternate=True),
    "no label smoothing": Idea({"label_smoothing": 0.0}),
    "batches of 64": Idea(BATCH_64),
    "batches of 32": Idea(BATCH_32),
    "Muon for 1x1 convolutions": Idea(optimizer=_muon(0.02)),
    "no crops and flips": Idea(crop=0, flip=False),
    "no crops": Idea(crop=0),
    "no flips": Idea(flip=False),
    "a tenth of the weight decay": Idea({"weight_decay": 5e-5}),
    "four times the weight decay": Idea({"weight_decay": 2e-3}),
    "14, 20, 28 pixels": Idea(sizes=(14, 20, LARGE)),
    "batches of 32, no label smoothing": Idea(BATCH_32 | {"label_smoothing": 0.0}),
}

# Changes of today's recipe without clipping, in about the time of 7 epochs.
QUICK_IDEAS: dict[str, Idea] = {
    BASE: Idea(),
    "14, 20, 28 pixels, 12 epochs": Idea({"epochs": 12}, sizes=(14, 20, LARGE)),
    "no label smoothing": Idea({"label_smoothing": 0.0}),
    "half the rate": Idea({"learning_rate": 0.4}),
    "a quarter of the rate": Idea({"learning_rate": 0.2}),
    "Muon for 1x1 convolutions": Idea(optimizer=_muon(0.02)),
    "batches of 64": Idea({"batch_size": 64, "learning_rate": 0.4}),
    "a third of the weight decay": Idea({"weight_decay": 1.5e-4}),
    "clipped gradients": Idea({"clip_norm": 1.0}),
}
