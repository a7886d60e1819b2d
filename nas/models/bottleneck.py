"""The bottleneck block of Table 1 of the paper.

Its expansion is a dynamic clone transformer (DCT) or a 1x1 convolution.

Shape suffixes: B images, M input and N output channels, C = N/p, D = N/(2p), H x W the
feature map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.dct import DCT
from nas.space.arch import Expansion, StageArch


class Bottleneck(nn.Module):
    """dw 3x3, BN, ReLU; 1x1, BN; 1x1, BN; concatenate both; expand, BN; + shortcut.

    The shortcut is the identity; it needs stride 1 and w_in = w_out. No activation follows the
    sum or a 1x1 convolution: with activations there the network does not train at its full
    depth. The cost of the block is `nas.space.cost._block_layers`.

    Args:
        w_in: input channels M.
        w_out: output channels N, a multiple of 2p.
        stride: stride of the depthwise convolution.
        expansion: how N/p channels become N: `dct` or `pointwise`.
        p: expansion ratio.
        hidden: hidden units of the recalibrator; None for a pointwise expansion.

    Raises:
        ValueError: as `StageArch`.
    """

    def __init__(
        self, w_in: int, w_out: int, stride: int, expansion: Expansion, p: int, hidden: int | None
    ) -> None:
        super().__init__()
        StageArch(w_out, 1, stride, expansion, p, hidden)  # checks the arguments
        half = w_out // (2 * p)
        self.depthwise = nn.Conv2d(w_in, w_in, 3, stride, padding=1, groups=w_in, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(w_in)
        self.contract = nn.Conv2d(w_in, half, 1, bias=False)
        self.contract_norm = nn.BatchNorm2d(half)
        self.mix = nn.Conv2d(half, half, 1, bias=False)
        self.mix_norm = nn.BatchNorm2d(half)
        self.expand: nn.Conv2d | DCT = (
            nn.Conv2d(2 * half, w_out, 1, bias=False)
            if hidden is None
            else DCT(2 * half, p, hidden)
        )
        self.expand_norm = nn.BatchNorm2d(w_out)
        self.has_shortcut = stride == 1 and w_in == w_out

    def forward(self, x_BMHW: Tensor) -> Tensor:
        """[B, w_in, H, W] to [B, w_out, H / stride, W / stride], rounded up."""
        y_BMHW = F.relu_(self.depthwise_norm(self.depthwise(x_BMHW)))
        contracted_BDHW = self.contract_norm(self.contract(y_BMHW))
        mixed_BDHW = self.mix_norm(self.mix(contracted_BDHW))
        y_BCHW = _concatenate(contracted_BDHW, mixed_BDHW)
        y_BNHW: Tensor = self.expand_norm(self.expand(y_BCHW))
        return y_BNHW.add_(x_BMHW) if self.has_shortcut else y_BNHW


def _concatenate(contracted_BDHW: Tensor, mixed_BDHW: Tensor) -> Tensor:
    """[contracted, mixed] along the channels, with a gradient that is fast on a GPU."""
    if mixed_BDHW.is_cuda and mixed_BDHW.requires_grad:
        # The gradient of `mixed` is a view into that of the concatenation, with gaps between
        # its rows, for which a GPU's batch norm has only a slow kernel.
        mixed_BDHW.register_hook(Tensor.clone)  # type: ignore[no-untyped-call]
    return torch.cat([contracted_BDHW, mixed_BDHW], 1)
