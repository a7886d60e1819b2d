"""How fast networks train on this machine, measured on some of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from nas.data.info import SearchData
from nas.data.splits import thin_out
from nas.progress import Progress, silent
from nas.threads import cpu_threads
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer

MEASURED_NETWORKS = 6  # the seconds of others are interpolated over the logarithm of cost
MAX_EPOCHS = 10_000  # of a recipe
VALIDATION = 1 / 3  # seconds of an image that is evaluated / of one that is trained on
MARGIN = 1.15  # trainings beside each other slow each other down, and each has an end


class Speed:
    """Seconds of training for an image, by the cost of the network.

    Args:
        seconds: that were measured, by multiply-adds of one forward pass; at least one entry.
    """

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self._log_macs = [math.log(macs) for macs in sorted(seconds)]
        self._log_seconds = [math.log(seconds[macs]) for macs in sorted(seconds)]

    def image(self, macs: int) -> float:
        """Seconds that a network takes to train on one image, once."""
        return math.exp(float(np.interp(math.log(macs), self._log_macs, self._log_seconds)))


def measure_speed(
    networks: Mapping[int, Callable[[], nn.Module]],
    data: SearchData,
    recipe: Recipe,
    *,
    device: torch.device,
    threads: int,
    seconds: float,
    batches: int = 8,
    progress: Progress = silent,
) -> Speed:
    """Train up to `MEASURED_NETWORKS` networks for a short time, spread over cost.

    Args:
        networks: by multiply-adds of one forward pass, what builds a network.
        data: the splits of a whole training.
        recipe: of a whole training.
        device: where to train.
        threads: CPU threads.
        seconds: of all networks together.
        batches: of a short epoch; the first epoch of each network is not timed.
        progress: shows how many networks have been timed.
    """
    by_cost = sorted(networks)
    count = min(MEASURED_NETWORKS, len(by_cost))
    places = np.linspace(0, len(by_cost) - 1, count).round().astype(int)
    few = thin_out(data.train, max(batches * recipe.batch_size, data.info.num_classes), 0)
    data = replace(data, train=few, val=few)
    with cpu_threads(threads):
        return Speed(
            {
                macs: seconds_per_image(networks[macs](), data, recipe, device, seconds / count)
                for macs in progress([by_cost[place] for place in places], count)
            }
        )


def seconds_per_image(
    network: nn.Module,
    data: SearchData,
    recipe: Recipe,
    device: torch.device,
    seconds: float,
) -> float:
    """Train whole epochs of a few images for at least so many seconds; the first is not timed."""
    endless = recipe.model_copy(update={"epochs": MAX_EPOCHS, "train_images": None})
    trainer = Trainer(network, data, endless, seed=0, device=device)
    trainer.train_epoch()
    start, passed, images = time.perf_counter(), 0.0, 0
    while passed < seconds and trainer.epoch < MAX_EPOCHS:
        trainer.train_epoch()
        images += len(data.train)
        passed = time.perf_counter() - start
    return passed / images
