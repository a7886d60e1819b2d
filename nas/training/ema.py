"""Exponential moving average of a network's weights and of its batch norms' statistics."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A copy of a network whose weights follow it at a distance.

    The decay starts low and rises to its value, min(decay, (1 + n) / (10 + n)) at the
    n-th update (as in TensorFlow), so that a short schedule is not judged by weights
    near the initial ones. The running statistics of batch norms are averaged alike:
    they then belong to about the same weights as the averaged weights do.
    `torch.optim.swa_utils.AveragedModel` waits for the device at each update.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards `network`'s weights; nothing waits for the device."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged, current = _tensors(self.network), _tensors(network)
        torch._foreach_lerp_(averaged, current, 1 - decay)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Weights and statistics; batch norms' counters of steps, integers, have no average."""
    return [t.detach() for t in network.state_dict().values() if t.is_floating_point()]
