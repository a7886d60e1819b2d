"""Exponential moving average (EMA) of a network's weights and batch norm statistics."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """A copy of a network whose weights are the moving average of the network's weights.

    The decay of the n-th update is min(decay, (1 + n) / (10 + n)), as in TensorFlow: it starts
    low, so that weights near the initial ones do not count in a short schedule. The running
    statistics of batch norms are averaged in the same way, so that they belong to about the
    same weights as the averages do. `torch.optim.swa_utils.AveragedModel` is not used, because
    it waits for the device at each update.

    Args:
        network: copied; its weights are the first average.
        decay: share of the average that each update keeps, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the weights of `network`, without waiting for the device."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged, current = _tensors(self.network), _tensors(network)
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(averaged, current, self.updates)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Weights and statistics; the integer counters of batch norms have no average."""
    return [t.detach() for t in network.state_dict().values() if t.is_floating_point()]
