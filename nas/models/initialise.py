"""Initial weights: one rule for every network that is trained here."""

from __future__ import annotations

from torch import nn


def initialise(network: nn.Module) -> None:
    """Set weights in place: Kaiming for convolutions, Xavier for fully connected layers.

    A batch norm follows every convolution, so the scale of its weights decides only how fast
    it learns; fan-out keeps the gradients of narrow and wide layers alike (He et al., 2015).
    Biases start at zero, batch norms as the identity.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
