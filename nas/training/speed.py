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
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer

MEASURED_NETWORKS = 6  # the seconds of others are interpolated over the logarithm of cost
MEASURED_BATCHES = 8  # of a short epoch
MAX_EPOCHS = 10_000  # of a recipe
VALIDATION = 1 / 3  # seconds of an image that is evaluated / of one that is trained on


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
) -> Speed:
    """Train up to `MEASURED_NETWORKS` networks for a short time, spread over cost.

    Args:
        networks: by multiply-adds of one forward pass, what builds a network.
        data: the splits of a whole training.
        recipe: of a whole training.
        device: where to train.
        threads: CPU threads.
        seconds: of all networks together.
    """
    by_cost = sorted(networks)
    count = min(MEASURED_NETWORKS, len(by_cost))
    places = np.linspace(0, len(by_cost) - 1, count).round().astype(int)
    return Speed(
        {
            by_cost[place]: seconds_per_image(
                *(networks[by_cost[place]](), data, recipe), device, threads, seconds / count
            )
            for place in places
        }
    )


def seconds_per_image(
    network: nn.Module,
    data: SearchData,
    recipe: Recipe,
    device: torch.device,
    threads: int,
    seconds: float,
) -> float:
    """Train on a few batches for so many seconds; the first epoch does not count."""
    few = thin_out(data.train, max(MEASURED_BATCHES * recipe.batch_size, data.info.num_classes), 0)
    trainer = Trainer(
        network,
        replace(data, train=few),
        recipe.model_copy(update={"epochs": MAX_EPOCHS}),
        seed=0,
        device=device,
        threads=threads,
    )
    trainer.train_epoch()
    start, passed, images = time.perf_counter(), 0.0, 0
    while passed < seconds:
        trainer.train_epoch()
        images += len(few)
        passed = time.perf_counter() - start
    return passed / images
