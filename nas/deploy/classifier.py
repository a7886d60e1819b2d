"""Classification of images by a retrained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from nas.data import DatasetInfo
from nas.data.image_file import read_pixels
from nas.models.fold import fold
from nas.models.native.fused import use_fused
from nas.training.pretrained import load_pretrained, read_description

BATCH = 64  # images of one forward pass, so that a long list needs little memory
CHANNELS = (1, 3, 4)  # an array is grey, RGB, or RGB with transparency

ImageLike = str | Path | Image.Image | NDArray[Any]


class Prediction(NamedTuple):
    """One class of one image."""

    class_name: str
    probability: float  # in [0, 1]; those of all classes of an image add up to 1


class Classifier(nn.Module):
    """A network folded for inference, with the normalisation that it expects.

    It consists of plain PyTorch modules, which can be exported; `load_classifier` returns
    the fast form.

    Args:
        network: as `load_pretrained` returns it; it is copied, not changed.
        info: the data set that the network was trained on.
    """

    def __init__(self, network: nn.Module, info: DatasetInfo) -> None:
        super().__init__()
        self.info = info
        self.network = fold(network)
        self.register_buffer("mean", torch.tensor(info.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(info.std).view(-1, 1, 1))
        self.mean: Tensor
        self.std: Tensor
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1], [B, C, H, W], to logits [B, K] of K classes."""
        # The argument's name is that of the exported program's input, hence no shape suffix.
        logits_BK: Tensor = self.network((images - self.mean) / self.std)
        return logits_BK

    @torch.inference_mode()
    def predict(self, images: ImageLike | list[Any] | tuple[Any, ...]) -> list[list[Prediction]]:
        """Classify one image or several, prepared as the images of a folder are for training.

        Args:
            images: the path of an image file, a PIL image, an array (H x W, or H x W x C with
                C = 1, 3 or 4; uint8, or floating point in [0, 1]), or a list of these. Images
                of any size are resized to the one that the network was trained at.

        Returns:
            For each image, in order, every class with its probability, the most probable first.

        Raises:
            ValueError: one line: which image cannot be used, why, and what is accepted.
        """
        if not isinstance(images, list | tuple):
            return self._classify([self._pixels(images)])
        answers = []
        for start in range(0, len(images), BATCH):
            pixels = []
            for index, image in enumerate(images[start : start + BATCH], start):
                try:
                    pixels.append(self._pixels(image))
                except ValueError as error:  # a file's name is in the message
                    where = "" if isinstance(image, str | Path) else f"images[{index}]: "
                    raise ValueError(f"{where}{error}") from None
            answers += self._classify(pixels)
        return answers

    def _pixels(self, image: object) -> NDArray[np.uint8]:
        info = self.info
        how = (info.image_size, info.in_channels, info.background)
        return read_pixels(_source(image), *how).pixels

    def _classify(self, pixels: list[NDArray[np.uint8]]) -> list[list[Prediction]]:
        images_BCHW = torch.from_numpy(np.stack(pixels)).to(self.mean.device) / 255
        logits_BK = self(images_BCHW.to(memory_format=torch.channels_last))
        top = logits_BK.softmax(1).sort(dim=1, descending=True, stable=True)
        return [
            [Prediction(self.info.class_names[k], p) for k, p in zip(classes, shares, strict=True)]
            for classes, shares in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]


def load_classifier(folder: str | Path) -> Classifier:
    """The network of a retrained folder, folded, in its fastest form on the CPU.

    Args:
        folder: `retrained/ARCH_ID/` of a study, as retraining wrote it.

    Raises:
        ValueError: one line with the file that is missing or damaged.
    """
    classifier = Classifier(load_pretrained(folder), read_description(Path(folder)).dataset_info())
    classifier.to(memory_format=torch.channels_last)
    use_fused(classifier)
    return classifier


def _source(image: object) -> Path | Image.Image:
    """What `read_pixels` reads: a path or a PIL image."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | Path):
        return Path(image)
    if not hasattr(image, "__array__"):
        raise ValueError(
            f"image: {type(image).__name__}; accepted: a path, a PIL image, an array, "
            "or a list of these"
        )
    array = np.asarray(image)
    if not (array.size and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS))):
        raise ValueError(
            f"image: an array of shape {array.shape}; accepted: H x W, or H x W x C with C of "
            f"{', '.join(map(str, CHANNELS))}, or a list of such arrays"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not ((array >= 0) & (array <= 1)).all():  # False for NaN too
            raise ValueError("image: floating-point values outside of [0, 1]; accepted: 0 to 1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"image: an array of {array.dtype}; accepted: uint8, or floating point")
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)
