"""Networks folded for inference: batch norms join convolutions, and DCT is one multiply-add.

Shape suffixes: B images, M input and N output channels of a block, D = N/(2p), C = 2D
channels before and N = p * C after the expansion, H x W the feature map.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.bottleneck import Bottleneck
from nas.models.dct import DCT
from nas.models.dyclotnet import Stem


def fold(network: nn.Module) -> nn.Module:
    """A copy for inference, in evaluation mode, that equals `network` in evaluation mode.

    - A batch norm joins the convolution before it.
    - The batch norm after DCT becomes a scale for each clone, and a shift that joins the
      recalibrator's coefficients: s * (x + g) + t = s * x + (s * g + t).
    - The two 1x1 convolutions of a bottleneck and a pointwise expansion are linear and have
      nothing between them. Before DCT the two convolutions become one of twice the width.
      Before a pointwise expansion the second one joins the expansion, which then reads half
      of the channels.

    The copy consists of plain PyTorch modules, which can be exported; `use_fused` of
    `nas.models.native.fused` switches it to the C++ kernels. Its parameters do not train.

    Args:
        network: a `DyClotNet`, or another network whose batch norms follow their convolutions
            in `Sequential` containers, as those of torchvision do.
    """
    folded = copy.deepcopy(network).requires_grad_(False).eval()
    _fold_children(folded)
    return folded


def _fold_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, Bottleneck):
            setattr(module, name, FoldedBottleneck(child))
        elif isinstance(child, Stem):
            setattr(module, name, nn.Sequential(fold_conv(child.conv, child.norm), nn.ReLU()))
        else:
            _fold_children(child)
    if isinstance(module, nn.Sequential):
        for index in range(len(module) - 1):
            conv, norm = module[index], module[index + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[index], module[index + 1] = fold_conv(conv, norm), nn.Identity()


class FoldedBottleneck(nn.Module):
    """A `Bottleneck` for inference: depthwise 3x3, ReLU; 1x1; expansion; + shortcut."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.depthwise = fold_conv(block.depthwise, block.depthwise_norm)
        contract = fold_conv(block.contract, block.contract_norm)
        mix = fold_conv(block.mix, block.mix_norm)
        self.has_shortcut = block.has_shortcut
        self.expand: FoldedDCT | nn.Conv2d
        if isinstance(block.expand, DCT):
            self.contract = stacked(contract, mix)
            self.expand = FoldedDCT(block.expand, block.expand_norm)
        else:
            eye = torch.eye(mix.in_channels).to(mix.weight)
            identity = _conv_like(mix, eye[..., None, None], torch.zeros_like(eye[0]))
            self.contract = contract
            both = stacked(identity, mix)
            self.expand = composed(both, fold_conv(block.expand, block.expand_norm))

    def forward(self, x_BMHW: Tensor) -> Tensor:
        """[B, M, H, W] to [B, N, H', W'], equal to the block that was folded."""
        y_BNHW: Tensor = self.expand(self.contract(F.relu(self.depthwise(x_BMHW))))
        return y_BNHW + x_BMHW if self.has_shortcut else y_BNHW


class FoldedDCT(nn.Module):
    """DCT and the batch norm after it: each clone is scaled and shifted."""

    def __init__(self, dct: DCT, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.recalibrator = dct.recalibrator
        self.scale, self.shift = (
            nn.Parameter(value.to(norm.weight.dtype).view(dct.p, -1), requires_grad=False)
            for value in scale_and_shift(norm)
        )

    def shifts(self, x_BCHW: Tensor) -> Tensor:
        """The shift of each clone, [B, p, C], which is added to the scaled input [B, C, H, W]."""
        g_BpC: Tensor = self.recalibrator(x_BCHW).view(-1, *self.scale.shape)
        return torch.addcmul(self.shift, g_BpC, self.scale)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to [B, p * C, H, W]; the memory format is kept."""
        if x_BCHW.is_contiguous(memory_format=torch.channels_last):
            x_BHW1C = x_BCHW.permute(0, 2, 3, 1).unsqueeze(3)
            shift_B11pC = self.shifts(x_BCHW)[:, None, None]
            y_BHWpC: Tensor = torch.addcmul(shift_B11pC, x_BHW1C, self.scale)
            return y_BHWpC.flatten(3).permute(0, 3, 1, 2)
        # Written so that an exported graph has one copy of the scales and few changes of shape.
        scale_pC11, shift_pC11 = self.scale[..., None, None], self.shift[..., None, None]
        g_BpC11 = self.recalibrator(x_BCHW).view(-1, *scale_pC11.shape)
        y_BpCHW: Tensor = x_BCHW.unsqueeze(1) * scale_pC11 + (g_BpC11 * scale_pC11 + shift_pC11)
        return y_BpCHW.flatten(1, 2)


@torch.no_grad()
def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """[C] and [C] in double precision: in evaluation mode `norm(x) = scale * x + shift`."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


@torch.no_grad()
def fold_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with bias that equals `norm(conv(x))`."""
    scale, shift = scale_and_shift(norm)
    bias = 0 if conv.bias is None else conv.bias.double()
    return _conv_like(conv, conv.weight.double() * scale.view(-1, 1, 1, 1), bias * scale + shift)


@torch.no_grad()
def composed(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1x1 convolution that equals `second(first(x))`; all have a bias."""
    outer, inner = _matrix(second), _matrix(first)
    weight = outer @ inner
    return _conv_like(first, weight[..., None, None], outer @ _bias(first) + _bias(second))


@torch.no_grad()
def stacked(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1x1 convolution whose output is `first(x)`, followed by `second(first(x))`."""
    both = composed(first, second)
    weight = torch.cat([_matrix(first), _matrix(both)])
    return _conv_like(first, weight[..., None, None], torch.cat([_bias(first), _bias(both)]))


def _matrix(conv: nn.Conv2d) -> Tensor:
    return conv.weight.double().flatten(1)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.double()


def _conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution of the same kind with other weights, which do not train."""
    made = nn.Conv2d(
        conv.in_channels,
        len(weight),
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
        device="meta",
    )
    dtype = conv.weight.dtype
    made.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    made.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return made
