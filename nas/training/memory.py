"""GPU memory that a training takes, estimated from the feature maps that it keeps."""

from __future__ import annotations

from nas.data.info import DatasetInfo
from nas.space.arch import Arch
from nas.training.recipe import Recipe

CONTEXT = 0.8e9  # bytes of a process on a GPU before it trains: CUDA and its libraries
IN_FLIGHT = 1.4  # feature maps and their gradients, over the feature maps that are kept


def training_bytes(arch: Arch, info: DatasetInfo, recipe: Recipe, images: int) -> float:
    """Bytes of GPU memory that the training of a network takes, an estimate.

    It counts the feature maps that a step keeps for its backward pass, in bfloat16, and the
    images of the data set. `CONTEXT` and `IN_FLIGHT` are assumptions; `runners/benchmark.py gpu`
    gives the estimate beside what PyTorch reserves.

    Args:
        arch: the network.
        info: the data set.
        recipe: its batch size and image size count.
        images: that stay on the GPU, of the training and the validation split together.
    """
    side = recipe.trained_size(info.image_size)
    data = 2.0 * images * info.in_channels * (side + 2 * info.crop) ** 2  # padded beside their own
    pixels = side * side
    kept = pixels * (6 * info.in_channels + 2 * arch.stem)
    width = arch.stem
    for stage in arch.stages:
        for index in range(stage.repeats):
            kept += 2 * width * pixels  # the block's input
            if index == 0:
                side = -(-side // stage.stride)
                pixels = side * side
            inner = stage.width // (2 * stage.p)
            # the depthwise convolution, its norm; both 1x1 convolutions, their norms and the
            # concatenation; the expansion
            kept += 2 * pixels * (2 * width + 5 * inner + stage.width)
            width = stage.width
    return CONTEXT + data + IN_FLIGHT * recipe.batch_size * kept
