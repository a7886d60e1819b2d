"""DyClotNet: the network that an `Arch` describes (Table 2 of the paper).

Shape suffixes: B images, C input channels, S channels of the stem, N channels of the last
stage, K classes, H x W the feature map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.bottleneck import Bottleneck
from nas.models.dct import require_positive
from nas.models.initialise import initialise
from nas.space.arch import Arch, table2_arch


class Stem(nn.Module):
    """3x3 convolution, BN, ReLU; its cost is `nas.space.cost._stem_layers`."""

    def __init__(self, w_in: int, w_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(w_in, w_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(w_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, w_in, H, W] to [B, w_out, H, W]."""
        return F.relu_(self.norm(self.conv(x_BCHW)))


class DyClotNet(nn.Module):
    """3x3 stem, BN, ReLU; stages of bottlenecks; global average pool; classifier.

    The paper leaves some points open. The assumptions made here, whose reasons are in
    docs/design.md, section 2:

    - The rows "1 x stride 2" and "n x stride 1" of Table 2 are one stage, whose first block
      carries the stride and the change of width.
    - The recalibrator has N // r hidden units, where N is the block's output channels.
    - A batch norm and no activation follows each 1x1 convolution of a block. A batch norm
      follows the expansion, then the identity shortcut where shapes allow it. No activation
      follows the sum.
    - The pointwise expansion is a 1x1 convolution from N/p to N channels in place of DCT.
    - Convolutions have no bias, fully connected layers have one.

    The cost of the network is `nas.space.cost.cost`; `nas.space.cost.layer_costs` names its
    layers as `named_modules` does.

    Args:
        arch: widths, repeats, strides and expansions.
        in_channels: channels of an image.
        num_classes: outputs of the classifier.

    Raises:
        ValueError: a number is not a positive integer.
    """

    def __init__(self, arch: Arch, in_channels: int, num_classes: int) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
            require_positive(name, value)
        self.arch = arch
        self.stem = Stem(in_channels, arch.stem)
        stages = []
        w_in = arch.stem
        for stage in arch.stages:
            blocks = []
            for index in range(stage.repeats):
                stride = stage.stride if index == 0 else 1
                blocks.append(
                    Bottleneck(w_in, stage.width, stride, stage.expansion, stage.p, stage.hidden)
                )
                w_in = stage.width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(w_in, num_classes)
        initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, num_classes]."""
        x_BSHW = self.stem(x_BCHW)
        x_BNHW = self.stages(x_BSHW)
        if torch.compiler.is_exporting():  # a transposition would be an operator of its own
            return self.classifier(x_BNHW.mean((2, 3)))  # type: ignore[no-any-return]
        # With pixels before channels the gradient is in channels-last memory as well.
        x_BPN = x_BNHW.flatten(2).transpose(1, 2)
        logits_BK: Tensor = self.classifier(x_BPN.mean(1))
        return logits_BK


def dyclotnet(
    alpha: float = 1.0, p: int = 2, r: int = 4, in_channels: int = 3, num_classes: int = 10
) -> DyClotNet:
    """DyClotNet of Table 2, every stage with DCT.

    Args:
        alpha: width multiplier.
        p: expansion ratio: N/p channels become N.
        r: reduction ratio: the recalibrator has N // r hidden units.
        in_channels: channels of an image.
        num_classes: outputs of the classifier.
    """
    return DyClotNet(table2_arch(alpha, p, r), in_channels, num_classes)
