"""How long one forward pass takes, measured."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

WARM_UP = 5  # passes before the first one that counts
REPEATS = 30


def measure_latency(
    network: nn.Module, image_size: int, in_channels: int, device: torch.device, batch: int = 1
) -> float:
    """Median seconds of one forward pass in inference mode, after a warm-up.

    Args:
        network: on `device`; left in the mode in which it was.
        image_size: side of the square images, pixels.
        in_channels: of the images.
        device: where it runs; on a GPU the device is waited for.
        batch: images per pass.
    """
    training = network.training
    network.eval()
    images: Tensor = torch.rand(batch, in_channels, image_size, image_size, device=device)
    seconds = []
    with torch.inference_mode():
        for repeat in range(WARM_UP + REPEATS):
            start = time.perf_counter()
            network(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat >= WARM_UP:
                seconds.append(time.perf_counter() - start)
    network.train(training)
    return statistics.median(seconds)
