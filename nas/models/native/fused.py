"""The fast forms of stem and bottleneck on the CPU, which `use_fused` switches to.

Each is a subclass with the same state and another `forward`, equal to its base class, which
stays the reference, in value, gradient and running statistics.

Shape suffixes: B images, M input and N output channels of a block, D = N/(2p), C = 2D,
S channels of the stem, H x W the feature map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.bottleneck import Bottleneck
from nas.models.dct import DCT
from nas.models.dyclotnet import Stem
from nas.models.fold import FoldedBottleneck, FoldedDCT
from nas.models.native import build as kernels
from nas.models.native import functions, operators


class FusedStem(Stem):
    """A `Stem` whose norm and ReLU are one operator."""

    def forward(self, x_BCHW: Tensor) -> Tensor:  # noqa: D102
        return operators.batch_norm(self.conv(x_BCHW), self.norm, relu=True)


class FusedBottleneck(Bottleneck):
    """A `Bottleneck` whose norms are one operator each with what is before and after them."""

    def forward(self, x_BMHW: Tensor) -> Tensor:  # noqa: D102
        shortcut_BNHW = x_BMHW if self.has_shortcut else None
        y_BMHW = operators.depthwise_batch_norm(x_BMHW, self.depthwise, self.depthwise_norm)
        y_BDHW = operators.pointwise(y_BMHW, self.contract)
        contracted_BDHW = operators.batch_norm(y_BDHW, self.contract_norm)
        y_BDHW = operators.pointwise(contracted_BDHW, self.mix)
        y_BCHW = torch.cat([contracted_BDHW, operators.batch_norm(y_BDHW, self.mix_norm)], 1)
        if isinstance(self.expand, DCT):
            return operators.dct_batch_norm(y_BCHW, self.expand, self.expand_norm, shortcut_BNHW)
        y_BNHW = operators.pointwise(y_BCHW, self.expand)
        return operators.batch_norm(y_BNHW, self.expand_norm, residual_BCHW=shortcut_BNHW)


class FusedFoldedBottleneck(FoldedBottleneck):
    """A `FoldedBottleneck` in fewer passes over the feature map."""

    def forward(self, x_BMHW: Tensor) -> Tensor:  # noqa: D102
        if not kernels.supports(x_BMHW):
            return super().forward(x_BMHW)
        shortcut_BNHW = x_BMHW if self.has_shortcut else None
        y_BMHW = (
            functions.depthwise_relu(x_BMHW, self.depthwise)
            if self.depthwise.stride == (1, 1)
            else F.relu_(self.depthwise(x_BMHW))
        )
        y_BCHW = operators.pointwise(y_BMHW, self.contract)
        if isinstance(self.expand, FoldedDCT):
            scale_N, shift_BN = self.expand.scale.flatten(), self.expand.shifts(y_BCHW).flatten(1)
            return functions.scale_clones(y_BCHW, scale_N, shift_BN, shortcut_BNHW)
        y_BNHW = operators.pointwise(y_BCHW, self.expand)
        return y_BNHW if shortcut_BNHW is None else y_BNHW.add_(shortcut_BNHW)


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    Stem: FusedStem,
    Bottleneck: FusedBottleneck,
    FoldedBottleneck: FusedFoldedBottleneck,
}


def use_fused(network: nn.Module) -> bool:
    """Switch every part of the network that has a fast form to it, in place.

    Parameters and buffers stay the same tensors under the same names.

    Returns:
        Whether the network has fast parts now. It has none without a C++ compiler, which a
        warning says once, nor where no part has a fast form.
    """
    parts = [part for part in network.modules() if isinstance(part, tuple(FUSED))]
    if not parts or not kernels.available():
        return False
    for part in parts:
        part.__class__ = FUSED.get(type(part), type(part))
    return True


def is_fused(network: nn.Module) -> bool:
    """Whether a part of the network has its fast form."""
    return any(isinstance(part, tuple(FUSED.values())) for part in network.modules())
