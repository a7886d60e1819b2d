"""Reference networks, under the names that `--reference` takes.

A new one is a builder and its entry in `REFERENCES`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import MobileNetV2

from nas.models.initialise import initialise

# (expansion, channels, repeats, stride) of each stage. The settings for ImageNet have stride 2
# in the second stage and in the stem, which would reduce a 32x32 image to 1x1 pixels.
_CIFAR_STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


MAX_WIDTH = 4  # relative


class ReferenceBuilder(Protocol):
    """Builds a reference network of a width, relative to the published one, for a data set."""

    def __call__(  # noqa: D102
        self, width: float = 1.0, in_channels: int = 3, num_classes: int = 10
    ) -> nn.Module: ...


@dataclass(frozen=True)
class Reference:
    """A family of networks to compare with, which differ in width."""

    label: str  # in plots and tables
    build: ReferenceBuilder
    learning_rate: float | None = None  # peak, where the recipe's does not suit the family


def mobilenet_v2(width: float = 1.0, in_channels: int = 3, num_classes: int = 10) -> nn.Module:
    """MobileNetV2 (Sandler et al., 2018) for small images: stem and second stage at stride 1.

    At width 1 it has 2,236,682 parameters and, for 32x32x3 images and 10 classes,
    87,976,448 multiply-adds. Channels are rounded to multiples of 8; the last convolution
    keeps its 1280 channels at smaller widths.

    Raises:
        ValueError: `width` is out of range.
    """
    if not 0 < width <= MAX_WIDTH:
        raise ValueError(f"width: {width!r}; accepted: a number above 0, at most {MAX_WIDTH}")
    network = MobileNetV2(num_classes, width, inverted_residual_setting=_CIFAR_STAGES)
    stem = network.features[0]
    stem[0] = nn.Conv2d(in_channels, stem[0].out_channels, 3, padding=1, bias=False)
    initialise(network)
    return cast(nn.Module, network)


REFERENCES = {"mobilenetv2": Reference("MobileNetV2", mobilenet_v2)}
"""By the name that `--reference` takes, alone or with a width: `NAME-0.25`."""


def parse_reference(name: str) -> tuple[str, float]:
    """The key in `REFERENCES` and the width of `mobilenetv2` or, for instance, `mobilenetv2-0.25`.

    Raises:
        ValueError: there is no such network.
    """
    match = re.fullmatch(r"([a-z0-9_]+)(?:-(\d{0,2}\.?\d{1,4}))?", name)
    family, width = (match[1], float(match[2] or 1)) if match else ("", 0.0)
    if family not in REFERENCES or not 0 < width <= MAX_WIDTH:
        raise ValueError(
            f"--reference: {name[:40]!r}; accepted: {', '.join(REFERENCES)}, or one with a width "
            f"above 0, at most {MAX_WIDTH}, such as mobilenetv2-0.25"
        )
    return family, width


def build_reference(name: str, in_channels: int, num_classes: int) -> nn.Module:
    """The network of this name, with weights drawn at random.

    Raises:
        ValueError: there is no such network.
    """
    family, width = parse_reference(name)
    return REFERENCES[family].build(width, in_channels, num_classes)


def reference_macs(name: str, image_size: int, in_channels: int, num_classes: int) -> int:
    """Multiply-adds of one forward pass of one image, by PyTorch's counter, without weights."""
    with torch.device("meta"):
        network = build_reference(name, in_channels, num_classes).eval()
        image = torch.empty(1, in_channels, image_size, image_size)
    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops()) // 2
