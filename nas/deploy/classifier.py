"""A retrained network in use: pixels in, class names out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.data import DatasetInfo
from nas.data.folder import read_image
from nas.models.fold import fold
from nas.models.native.fused import use_fused
from nas.training.pretrained import load_pretrained, read_description


class Classifier(nn.Module):
    """A network folded for inference, with the normalisation that it expects.

    Plain PyTorch modules, which can be exported; `load_classifier` gives the fast form.

    Args:
        network: as `load_pretrained` gives it; left as it is.
        info: what it was trained on.
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
        """Pixels in [0, 1], [B, C, H, W], to logits [B, classes]."""
        logits_BK: Tensor = self.network((images - self.mean) / self.std)
        return logits_BK

    @torch.inference_mode()
    def predict(self, image: str | Path) -> dict[str, float]:
        """Classify an image file, shrunk or enlarged to the size that the network knows.

        Returns:
            The probability of each class name, the most probable first.

        Raises:
            ValueError: one line that says why the file cannot be read.
        """
        mode = "L" if self.info.in_channels == 1 else "RGB"
        pixels_CHW = read_image(Path(image), self.info.image_size, mode)
        images = (torch.tensor(pixels_CHW)[None] / 255).to(memory_format=torch.channels_last)
        probabilities = self(images)[0].softmax(0)
        order = probabilities.argsort(descending=True).tolist()
        return {self.info.class_names[k]: float(probabilities[k]) for k in order}


def load_classifier(folder: str | Path) -> Classifier:
    """The network of a retrained folder, folded, in its fastest form on the CPU.

    Raises:
        ValueError: one line with the file that is missing or damaged.
    """
    classifier = Classifier(load_pretrained(folder), read_description(Path(folder)).dataset_info())
    classifier.to(memory_format=torch.channels_last)
    use_fused(classifier)
    return classifier
