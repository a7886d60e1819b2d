"""Multiply-adds, parameters and memory of an architecture, by formula: no network is built.

Convolutions have no bias, fully connected layers have one, and batch norms have a scale and a
shift. Multiply-adds are those of convolutions and fully connected layers in one forward pass
of one image; papers call them FLOPs. Memory is that of `nas/space/memory.py`. The networks are in
`nas/models/`: a change of a layer there is a change of its cost here. `tests/models` compares both
with PyTorch's own counter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from nas.space.arch import Arch, Expansion, StageArch, strided_size
from nas.space.memory import (
    BIAS_BYTES,
    Operator,
    block_operators,
    classifier_operators,
    stem_operators,
)

Kind = Literal["conv", "fc", "norm"]


class LayerCost(NamedTuple):
    """Cost of one layer."""

    name: str  # of its module in `nas.models.DyClotNet`
    kind: Kind
    macs: int  # multiply-adds of one forward pass of one image
    params: int  # trainable parameters


@dataclass(frozen=True)
class Cost:
    """Cost of one network, or of a part of it, in one forward pass of one image."""

    conv_macs: int  # multiply-adds in convolutions
    fc_macs: int  # multiply-adds in fully connected layers
    params: int  # trainable parameters
    memory: int  # peak activation memory in int8, bytes; see `nas.space.memory`
    flash: int  # weights and biases in int8, bytes

    @property
    def macs(self) -> int:
        """All multiply-adds."""
        return self.conv_macs + self.fc_macs

    def __add__(self, other: Cost) -> Cost:
        """Cost of one part and then another: the larger peak, and the sum of all else."""
        return Cost(
            self.conv_macs + other.conv_macs,
            self.fc_macs + other.fc_macs,
            self.params + other.params,
            max(self.memory, other.memory),
            self.flash + other.flash,
        )

    def __mul__(self, times: int) -> Cost:
        return Cost(
            self.conv_macs * times,
            self.fc_macs * times,
            self.params * times,
            self.memory if times else 0,
            self.flash * times,
        )


def cost(arch: Arch, image_size: int, in_channels: int, num_classes: int) -> Cost:
    """Cost of an architecture on a data set.

    Costs of stages are cached: an architecture whose stages were counted before, in any
    network, takes some 10 microseconds.

    Args:
        arch: what is counted.
        image_size: side of the square images, pixels.
        in_channels: channels of an image.
        num_classes: outputs of the classifier.

    Raises:
        ValueError: a number is not positive.
    """
    _require_positive(image_size, in_channels, num_classes)
    size, w_in = image_size, arch.stem
    total = _stem_cost(w_in, in_channels, size)
    for stage in arch.stages:
        total += _stage_cost(stage, w_in, size)
        size, w_in = strided_size(size, stage.stride), stage.width
    return total + _classifier_cost(w_in, num_classes, size)


def layer_costs(arch: Arch, image_size: int, in_channels: int, num_classes: int) -> list[LayerCost]:
    """Cost of each layer in the order of the forward pass; the sum is that of `cost`."""
    _require_positive(image_size, in_channels, num_classes)
    size = image_size
    layers = list(_stem_layers(arch.stem, in_channels, size))
    w_in = arch.stem
    for i, stage in enumerate(arch.stages):
        for j in range(stage.repeats):
            stride = stage.stride if j == 0 else 1
            block = _block_layers(
                w_in, stage.width, stride, size, stage.expansion, stage.p, stage.hidden or 0
            )
            layers += [layer._replace(name=f"stages.{i}.{j}.{layer.name}") for layer in block]
            size = strided_size(size, stride)
            w_in = stage.width
    return [*layers, _fc("classifier", w_in, num_classes)]


def _require_positive(image_size: int, in_channels: int, num_classes: int) -> None:
    if min(image_size, in_channels, num_classes) < 1:
        raise ValueError(
            f"image_size, in_channels, num_classes: {image_size}, {in_channels}, {num_classes}; "
            "accepted: positive integers"
        )


def separable_macs(m: int, n: int, size: int, kernel: int = 3) -> int:
    """C0 of equation (7): multiply-adds of a separable convolution (depthwise, pointwise).

    Args:
        m: input channels.
        n: output channels.
        size: side of the feature map; the stride is 1.
        kernel: side of the depthwise convolution's kernel.
    """
    return size * size * (kernel * kernel * m + m * n)


def dct_bottleneck_macs(m: int, n: int, p: int, size: int, kernel: int = 3) -> int:
    """C1 of equation (8): multiply-adds of the convolutions of a DCT bottleneck at stride 1.

    The recalibrator, which the paper calls negligible, is left out. Arguments are those of
    `separable_macs`, and the expansion ratio p; `n` is a multiple of 2p.
    """
    half = n // (2 * p)
    return size * size * (kernel * kernel * m + m * half + half * half)


def dct_bottleneck_macs_approx(m: int, n: int, p: int, size: int) -> int:
    """C1 of equation (8), second line: without the depthwise term.

    The paper's bound, 5/16 of C0 for m = n and p >= 2, holds for this one alone.
    """
    half = n // (2 * p)
    return size * size * (m * half + half * half)


def _conv(name: str, w_in: int, w_out: int, kernel: int, size: int, groups: int = 1) -> LayerCost:
    weights = kernel * kernel * (w_in // groups) * w_out
    return LayerCost(name, "conv", size * size * weights, weights)


def _fc(name: str, w_in: int, w_out: int) -> LayerCost:
    return LayerCost(name, "fc", w_in * w_out, (w_in + 1) * w_out)


def _norm(name: str, width: int) -> LayerCost:
    return LayerCost(name, "norm", 0, 2 * width)


def _total(layers: tuple[LayerCost, ...], operators: tuple[Operator, ...]) -> Cost:
    """Cost of a part of a network, from its layers and from its operators once folded."""
    return Cost(
        sum(layer.macs for layer in layers if layer.kind == "conv"),
        sum(layer.macs for layer in layers if layer.kind == "fc"),
        sum(layer.params for layer in layers),
        max(one.elements for one in operators),
        sum(one.weights + BIAS_BYTES * one.biases for one in operators),
    )


def _stem_layers(w_out: int, in_channels: int, size: int) -> tuple[LayerCost, ...]:
    return (_conv("stem.conv", in_channels, w_out, 3, size), _norm("stem.norm", w_out))


@lru_cache(maxsize=1024)
def _stem_cost(w_out: int, in_channels: int, size: int) -> Cost:
    return _total(_stem_layers(w_out, in_channels, size), stem_operators(w_out, in_channels, size))


@lru_cache(maxsize=1024)
def _classifier_cost(w_in: int, num_classes: int, size: int) -> Cost:
    return _total(
        (_fc("classifier", w_in, num_classes),), classifier_operators(w_in, num_classes, size)
    )


@lru_cache(maxsize=65536)
def _stage_cost(stage: StageArch, w_in: int, size: int) -> Cost:
    """Cost of a stage on feature maps of `w_in` channels and `size` x `size` pixels."""
    w_out, unit = stage.width, (stage.expansion, stage.p, stage.hidden or 0)
    first = _block_cost(w_in, w_out, stage.stride, size, *unit)
    size = strided_size(size, stage.stride)
    return first + _block_cost(w_out, w_out, 1, size, *unit) * (stage.repeats - 1)


def _block_cost(
    m: int, n: int, stride: int, size: int, expansion: Expansion, p: int, hidden: int
) -> Cost:
    block = (m, n, stride, size, expansion, p, hidden)
    return _total(_block_layers(*block), block_operators(*block))


def _block_layers(
    m: int, n: int, stride: int, size: int, expansion: Expansion, p: int, hidden: int
) -> tuple[LayerCost, ...]:
    """Layers of one bottleneck (Table 1), as `nas.models.bottleneck.Bottleneck` builds them."""
    size = strided_size(size, stride)
    half = n // (2 * p)
    expand = (
        (
            _fc("expand.recalibrator.reduce", n // p, hidden),
            _fc("expand.recalibrator.restore", hidden, n),
        )
        if expansion == "dct"
        else (_conv("expand", n // p, n, 1, size),)
    )
    return (
        _conv("depthwise", m, m, 3, size, groups=m),
        _norm("depthwise_norm", m),
        _conv("contract", m, half, 1, size),
        _norm("contract_norm", half),
        _conv("mix", half, half, 1, size),
        _norm("mix_norm", half),
        *expand,
        _norm("expand_norm", n),
    )
