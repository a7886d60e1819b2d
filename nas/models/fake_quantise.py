"""Networks as they compute in int8, in float arithmetic: fake quantisation.

A value is rounded to the numbers that 8 bits can express, and everything between two roundings is
computed in float32 (Jacob et al., arXiv 1712.05877, section 3). What is rounded, and to which
numbers, is what ONNX Runtime's static quantisation makes of the same network, as
`nas.deploy.quantise` calls it; `tests/deploy/test_int8_agreement.py` compares the two. ONNX Runtime
itself is not needed.

- The network is folded first.
- Weights are symmetric int8, from -127 to 127, with a scale for each output channel of a
  convolution, and one for a fully connected layer. Biases stay float32; the runtime rounds them to
  int32, whose steps are far smaller than those of its results.
- Activations are uint8 with one scale and one zero point for a tensor. The range is a percentile of
  absolute values on calibration images, which the float network computes (`_percentile`), within
  minimum and maximum and with zero in it. A ReLU is a part of the layer before it.
- The input of the network, the output of each layer, the global means, and all steps of DCT are
  such activations; DCT's constants are quantised by their minimum and maximum. Means themselves
  are computed in float.
- In training mode each forward pass rounds weights and constants. The gradient of a rounding is
  that of the identity, and zero outside of the range (the straight-through estimator of Bengio et
  al., arXiv 1308.3432).

Shape suffixes as in `nas.models.fold`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from nas.data.splits import Split
from nas.models.dct import Recalibrator
from nas.models.dyclotnet import DyClotNet
from nas.models.fold import FoldedBottleneck, FoldedDCT, fold

PERCENTILE = 99.9  # of an activation's absolute values that are within its range
CALIBRATION_IMAGES = 512  # at most, spread over the training images
CALIBRATION_PIXELS = CALIBRATION_IMAGES * 32**2  # of all: every activation of them is in memory
FEWEST_IMAGES = 64  # larger ones too are calibrated on so many
BINS = 2048  # of the histogram by which ONNX Runtime finds a percentile

Grid = tuple[float, int, int]
"""Distance of two values that can be expressed, and the least and the greatest multiple of it."""


def calibration_images(train: Split) -> Split:
    """The images that ranges are calibrated on, evenly spaced in the training split."""
    fitting = CALIBRATION_PIXELS // train.images.shape[-1] ** 2
    images = min(CALIBRATION_IMAGES, max(FEWEST_IMAGES, fitting), len(train))
    return train.take(torch.linspace(0, len(train) - 1, images).long().numpy())


def activation_range(x: Tensor) -> tuple[float, float]:
    """The range of an activation: its least and greatest value within the percentile."""
    most = _percentile(x)
    return max(float(x.amin()), -most), min(float(x.amax()), most)


@torch.no_grad()
def fake_quantise(network: nn.Module, images_BCHW: Tensor) -> nn.Module:
    """A folded copy in evaluation mode that computes as the int8 network does.

    Args:
        network: a `DyClotNet` that was trained, folded or not; its norms have their statistics.
        images_BCHW: normalised calibration images, as the network takes them.

    Raises:
        ValueError: it is another network.
    """
    if not isinstance(network, DyClotNet):
        raise ValueError(f"network: {type(network).__name__}; accepted: a DyClotNet")
    quantised = QuantisedDyClotNet(fold(network))
    quantised.calibrate(images_BCHW)
    quantised.round_constants()
    return quantised


class QuantisedDyClotNet(nn.Module):
    """A `DyClotNet` in int8.

    In training mode each forward pass rounds the weights, which stay as they are; in evaluation
    mode they are used as they are, after `round_constants` rounded ones.

    Args:
        folded: the folded network, whose parameters it shares: what trains one trains the other.
    """

    def __init__(self, folded: nn.Module) -> None:
        super().__init__()
        stem, stages, classifier = (getattr(folded, n) for n in ("stem", "stages", "classifier"))
        self.stem = nn.Sequential(Activation(), QuantisedLayer(stem[0], relu=True))
        self.stages = nn.Sequential(
            *(nn.Sequential(*(QuantisedBottleneck(block) for block in stage)) for stage in stages)
        )
        self.classifier = nn.Sequential(Activation(), QuantisedLayer(classifier))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, K]."""
        # A number of 8 bits, times its scale, needs more precision than bfloat16 has.
        with torch.autocast(x_BCHW.device.type, enabled=False):
            x_BNHW = self.stages(self.stem(x_BCHW))
            logits_BK: Tensor = self.classifier(x_BNHW.flatten(2).transpose(1, 2).mean(1))
        return logits_BK

    @torch.no_grad()
    def calibrate(self, images_BCHW: Tensor) -> None:
        """Find the range of each activation in the float network; evaluation mode from here on."""
        for part in self.eval().modules():
            if isinstance(part, Activation):
                part.reset()
        self(images_BCHW)

    @torch.no_grad()
    def round_constants(self) -> None:
        """Round weights and constants, in place: evaluation is then that of the int8 network."""
        for part in self.modules():
            if isinstance(part, QuantisedLayer):
                part.layer.weight.copy_(part.rounded_weight())
            elif isinstance(part, QuantisedDCT):
                for constant in (part.scale, part.shift):
                    constant.copy_(_round_constant(constant))


class Activation(nn.Module):
    """Rounds a tensor to the 256 values of its range; the first call finds the range alone."""

    def __init__(self) -> None:
        super().__init__()
        self._grid: Grid | None = None

    def reset(self) -> None:
        """Forget the range: the next call calibrates."""
        self._grid = None

    def forward(self, x: Tensor) -> Tensor:
        """The rounded tensor; at the first call, which calibrates, the tensor as it is."""
        if self._grid is None:
            self._grid = _uint8_grid(*activation_range(x))
            return x
        return _round(x, *self._grid)


class QuantisedLayer(nn.Module):
    """A convolution or a fully connected layer, then ReLU if any, and its output's rounding."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, *, relu: bool = False) -> None:
        super().__init__()
        self.layer, self.relu, self.output = layer, relu, Activation()

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.training:
            y = functional_call(self.layer, {"weight": self.rounded_weight()}, x)
        else:
            y = self.layer(x)
        rounded: Tensor = self.output(F.relu_(y) if self.relu else y)
        return rounded

    def rounded_weight(self) -> Tensor:
        """The weights as int8 expresses them."""
        weight = self.layer.weight
        # Axis 0 is that of the output channels.
        axes = tuple(range(1 if isinstance(self.layer, nn.Conv2d) else 0, weight.ndim))
        largest = weight.detach().abs().amax(axes, keepdim=True)
        scale = torch.where(largest > 0, largest / 127, 1)
        return _round(weight, scale, -127, 127)


class QuantisedBottleneck(nn.Module):
    """A `FoldedBottleneck` in int8."""

    def __init__(self, block: FoldedBottleneck) -> None:
        super().__init__()
        self.depthwise = QuantisedLayer(block.depthwise, relu=True)
        self.contract = QuantisedLayer(block.contract)
        self.expand: QuantisedDCT | QuantisedLayer = (
            QuantisedDCT(block.expand)
            if isinstance(block.expand, FoldedDCT)
            else QuantisedLayer(block.expand)
        )
        self.sum = Activation() if block.has_shortcut else None

    def forward(self, x_BMHW: Tensor) -> Tensor:
        """[B, M, H, W] to [B, N, H', W']."""
        y_BNHW: Tensor = self.expand(self.contract(self.depthwise(x_BMHW)))
        return y_BNHW if self.sum is None else self.sum(y_BNHW + x_BMHW)


class QuantisedDCT(nn.Module):
    """A `FoldedDCT` in int8: each multiplication and each addition has a rounded result."""

    def __init__(self, dct: FoldedDCT) -> None:
        super().__init__()
        self.recalibrator = QuantisedRecalibrator(dct.recalibrator)
        self.scale, self.shift = dct.scale, dct.shift
        self.scaled, self.coefficients, self.shifts, self.sum = (Activation() for _ in range(4))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to [B, p * C, H, W], in channels-last memory."""
        constants: list[Tensor] = [self.scale, self.shift]
        scale_pC, shift_pC = map(_round_constant, constants) if self.training else constants
        g_BpC = self.recalibrator(x_BCHW).view(-1, *scale_pC.shape)
        shift_BpC = self.shifts(self.coefficients(g_BpC * scale_pC) + shift_pC)
        x_BHW1C = x_BCHW.permute(0, 2, 3, 1).unsqueeze(3)
        y_BHWpC = self.scaled(x_BHW1C * scale_pC)
        y_BHWpC = self.sum(y_BHWpC + shift_BpC[:, None, None])
        y_BNHW: Tensor = y_BHWpC.flatten(3).permute(0, 3, 1, 2)
        return y_BNHW


class QuantisedRecalibrator(nn.Module):
    """A `Recalibrator` in int8."""

    def __init__(self, recalibrator: Recalibrator) -> None:
        super().__init__()
        self.mean, self.sigmoid = Activation(), Activation()
        self.reduce = QuantisedLayer(recalibrator.reduce, relu=True)
        self.restore = QuantisedLayer(recalibrator.restore)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to [B, N]."""
        g_BN = self.restore(self.reduce(self.mean(x_BCHW.mean((2, 3)))))
        rounded: Tensor = self.sigmoid(g_BN.sigmoid())
        return rounded


def _percentile(x: Tensor) -> float:
    """The absolute value that `PERCENTILE` per cent of a tensor's are within.

    It is the lower edge of that bin of a histogram of `BINS` equal bins, from the least to the
    greatest absolute value, in which the percentile is.
    """
    values = x.abs().flatten()
    rank = math.ceil(PERCENTILE / 100 * len(values))
    top = values.topk(len(values) - rank + 1).values
    least, greatest, value = float(values.amin()), float(top[0]), float(top[-1])
    width = (greatest - least) / BINS
    if not (math.isfinite(width) and width > 0):
        return greatest
    edge = least + min(math.floor((value - least) / width), BINS - 1) * width
    return float(x.new_tensor(edge, device="cpu"))  # in the tensor's own precision


def _uint8_grid(low: float, high: float) -> Grid:
    """The values of uint8 over a range, which is widened to contain zero: one of them is zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    if not (math.isfinite(scale) and scale >= torch.finfo(torch.float32).tiny):
        return 1.0, 0, 255
    zero_point = round(-low / scale)
    return scale, -zero_point, 255 - zero_point


def _round_constant(x: Tensor) -> Tensor:
    """Round as an activation, but by minimum and maximum."""
    return _round(x, *_uint8_grid(float(x.detach().amin()), float(x.detach().amax())))


def _round(x: Tensor, scale: float | Tensor, least: int, greatest: int) -> Tensor:
    """Round to the nearest integer multiple of `scale`, halves to even, within these integers."""
    rounded: Tensor = _Round.apply(x, scale, least, greatest)
    return rounded


class _Round(torch.autograd.Function):
    """See `_round`; its gradient is straight-through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float | Tensor, least: int, greatest: int) -> Tensor:
        steps = (x / scale).round_()
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward((steps >= least) & (steps <= greatest))
        return steps.clamp_(least, greatest).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None, None
