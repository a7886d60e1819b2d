"""Peak activation memory and weights of an architecture in bytes, by formula: no network is built.

What is counted is the network as it is deployed: folded (`nas.models.fold`), for a batch of one
image. The convention is that of TensorFlow Lite Micro, as MCUNet uses it:

- While an operator runs, its inputs and its outputs are in memory, and every other tensor that a
  later operator reads: in a block with a shortcut, the block's input. No operator writes over its
  input. The sum of these tensors is largest for one operator; that sum is the peak.
- Operators run in the order of the forward pass, which is the best order of a block: the
  recalibrator runs before the clones are written.
- A ReLU is part of the operator before it. Changing a shape costs nothing.
- A folded DCT is a multiplication of the clones and an addition of the shifts: all p clones are
  materialised twice, as the input and the output of that addition. A kernel that multiplies and
  adds in one step, clone by clone, would need less; the standard runtimes have none.
- A convolution's own scratch memory is not counted, nor what a memory planner loses between
  buffers, nor the runtime itself. So this is the least that an arena must hold.
- A weight or an activation is 4 bytes in float32 and 1 byte in int8. Biases are 4 bytes in both;
  the scales of a quantisation and the description of the graph are not counted.

Sources: David et al., "TensorFlow Lite Micro: Embedded machine learning on TinyML systems", MLSys
2021, section 4.4 (the memory planner works on the lifetimes of tensors); Lin et al., "MCUNet: Tiny
deep learning on IoT devices", NeurIPS 2020 (limits of SRAM by peak activations, of flash by
weights). `tests/space/test_memory.py` counts the same in exported ONNX graphs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from nas.space.arch import Arch, Expansion, strided_size

Precision = Literal["float32", "int8"]
BYTES: dict[Precision, int] = {"float32": 4, "int8": 1}  # of a weight and of an activation
BIAS_BYTES = 4  # of a bias: int8 kernels add it to 32-bit sums


class Operator(NamedTuple):
    """What is in memory while one operator runs, and what of it is stored in flash."""

    name: str  # of its module in the folded network; several operators may share one
    elements: int  # of all tensors that are in memory
    weights: int = 0
    biases: int = 0


def operators(arch: Arch, image_size: int, in_channels: int, num_classes: int) -> list[Operator]:
    """The operators of the folded network in the order in which they run.

    Args:
        arch: what is counted.
        image_size: side of the square images, pixels.
        in_channels: channels of an image.
        num_classes: outputs of the classifier.
    """
    size, w_in = image_size, arch.stem
    listed = list(stem_operators(w_in, in_channels, size))
    for i, stage in enumerate(arch.stages):
        for j in range(stage.repeats):
            stride = stage.stride if j == 0 else 1
            block = block_operators(
                w_in, stage.width, stride, size, stage.expansion, stage.p, stage.hidden or 0
            )
            listed += [one._replace(name=f"stages.{i}.{j}.{one.name}") for one in block]
            size, w_in = strided_size(size, stride), stage.width
    return [*listed, *classifier_operators(w_in, num_classes, size)]


def peak_memory(
    arch: Arch,
    image_size: int,
    in_channels: int,
    num_classes: int,
    precision: Precision = "int8",
) -> int:
    """Peak activation memory, bytes; the arguments are those of `operators`."""
    listed = operators(arch, image_size, in_channels, num_classes)
    return BYTES[precision] * max(one.elements for one in listed)


class LayerPeak(NamedTuple):
    """The operator of a layer that needs the most memory."""

    name: str  # stem, pool, classifier, or a block as `stages.0.1`
    memory: int  # bytes in int8
    operator: str  # within a block; the layer itself where it has one operator


def layer_peaks(arch: Arch, image_size: int, in_channels: int, num_classes: int) -> list[LayerPeak]:
    """The peak of each layer in the order of the forward pass; the largest is `peak_memory`."""
    peaks: dict[str, LayerPeak] = {}
    for one in operators(arch, image_size, in_channels, num_classes):
        words = one.name.split(".")
        layer = ".".join(words[:3]) if words[0] == "stages" else one.name
        operator = ".".join(words[3:]) or one.name
        if layer not in peaks or one.elements > peaks[layer].memory:
            peaks[layer] = LayerPeak(layer, one.elements, operator)
    return list(peaks.values())


def weight_bytes(
    arch: Arch,
    image_size: int,
    in_channels: int,
    num_classes: int,
    precision: Precision = "int8",
) -> int:
    """Bytes of weights and biases (flash); the arguments are those of `operators`."""
    listed = operators(arch, image_size, in_channels, num_classes)
    return sum(BYTES[precision] * one.weights + BIAS_BYTES * one.biases for one in listed)


def stem_operators(w_out: int, in_channels: int, size: int) -> tuple[Operator, ...]:
    """Normalisation of the image, and the stem's convolution."""
    image = in_channels * size * size
    return (
        Operator("normalisation", 2 * image),
        Operator("stem", image + w_out * size * size, 9 * in_channels * w_out, w_out),
    )


def block_operators(
    m: int, n: int, stride: int, size_in: int, expansion: Expansion, p: int, hidden: int
) -> tuple[Operator, ...]:
    """The operators of `nas.models.fold.FoldedBottleneck`; arguments as in `nas.space.cost`."""
    size = strided_size(size_in, stride)
    pixels, half, clone = size * size, n // (2 * p), n // p
    has_shortcut = stride == 1 and m == n
    kept = m * pixels if has_shortcut else 0  # the block's input, until the sum
    depthwise = Operator("depthwise", m * size_in * size_in + m * pixels, 9 * m, m)
    if expansion == "pointwise":
        rest = [
            Operator("contract", kept + (m + half) * pixels, m * half, half),
            Operator("expand", kept + (half + n) * pixels, half * n, n),
        ]
    else:
        inside = kept + clone * pixels  # what DCT reads, until its clones are written
        unit = "expand.recalibrator"
        rest = [
            Operator("contract", kept + (m + clone) * pixels, m * clone, clone),
            Operator(f"{unit}.pool", inside + clone),
            Operator(f"{unit}.reduce", inside + clone + hidden, clone * hidden, hidden),
            Operator(f"{unit}.restore", inside + hidden + n, hidden * n, n),
            Operator(f"{unit}.sigmoid", inside + 2 * n),
            Operator("expand.shifts", inside + 2 * n, 2 * n),  # scaled and shifted coefficients
            Operator("expand.multiply", inside + n + n * pixels),  # by the same scales
            Operator("expand.add", kept + n + 2 * n * pixels),
        ]
    if has_shortcut:
        rest.append(Operator("sum", 3 * n * pixels))
    return (depthwise, *rest)


def classifier_operators(w_in: int, num_classes: int, size: int) -> tuple[Operator, ...]:
    """Global average pooling and the classifier."""
    return (
        Operator("pool", w_in * size * size + w_in),
        Operator("classifier", w_in + num_classes, w_in * num_classes, num_classes),
    )
