"""A trained network that computes the same in float, and far worse in int8.

The output of a depthwise channel may be scaled where the next weights are divided by the same
factor, because a ReLU lets positive factors through (Nagel et al., arXiv 1906.04721, section 4.1).
Channels of one tensor then differ in scale, and int8 has one scale for all of them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save

from nas.models import Bottleneck, DyClotNet
from nas.training.pretrained import DESCRIPTION, WEIGHTS, load_pretrained

DECADES = 2.5  # between the least and the greatest scale, at most


@torch.no_grad()
def rescale(network: DyClotNet, seed: int = 0) -> None:
    """Scale the depthwise channels of all blocks, in place."""
    generator = torch.Generator().manual_seed(seed)
    for block in network.modules():
        if isinstance(block, Bottleneck):
            channels = block.depthwise.out_channels
            scale_M = 10 ** (-DECADES * torch.rand(channels, generator=generator))
            block.depthwise_norm.weight.mul_(scale_M)
            block.depthwise_norm.bias.mul_(scale_M)
            block.contract.weight.div_(scale_M.view(1, -1, 1, 1))


def rescale_folder(folder: Path) -> None:
    """The same, of the network that was trained in a folder."""
    network = load_pretrained(folder)
    assert isinstance(network, DyClotNet)
    rescale(network)
    weights = save({name: one.contiguous() for name, one in network.state_dict().items()})
    (folder / WEIGHTS).write_bytes(weights)
    described = json.loads((folder / DESCRIPTION).read_text())
    described["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (folder / DESCRIPTION).write_text(json.dumps(described))
