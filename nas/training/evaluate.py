"""Accuracy of a trained network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data import Batches, DatasetInfo

EVALUATION_BATCH = 500  # images: the largest batch on the CPU, the smallest on a GPU
EVALUATION_PIXELS = 50_000  # per batch on the CPU: feature maps of more leave the caches


def evaluation_batch(info: DatasetInfo, device: torch.device, trained: int = 1) -> int:
    """Number of images that are evaluated at once.

    Args:
        info: gives the size of the images.
        device: where they are evaluated.
        trained: images in a training batch, which a GPU has room for.
    """
    if device.type == "cuda":
        return max(EVALUATION_BATCH, trained)
    return min(EVALUATION_BATCH, max(1, EVALUATION_PIXELS // info.image_size**2))


def accuracy(network: nn.Module, batches: Batches, *, balanced: bool = False) -> float:
    """Share of the images that `network`, in evaluation mode, classifies right.

    If balanced, the mean of that share over the classes that have images.
    """
    return evaluate_images(network, batches, balanced=balanced)[0]


def evaluate_images(
    network: nn.Module, batches: Batches, *, balanced: bool = False
) -> tuple[float, Tensor]:
    """The `accuracy`, and which images are classified right: bool [N], on the CPU."""
    right_N = predict(network, batches) == batches.labels
    if not balanced:
        return int(right_N.sum()) / batches.size, right_N.cpu()
    counts_K = batches.class_counts
    right_K = torch.zeros_like(counts_K, device=batches.device)
    right_K = right_K.scatter_add_(0, batches.labels, right_N.long()).cpu()
    return float((right_K.double() / counts_K)[counts_K > 0].mean()), right_N.cpu()


@torch.inference_mode()
def predict(network: nn.Module, batches: Batches) -> Tensor:
    """The class [N] that `network`, in evaluation mode, gives each image, on the device."""
    network.eval()
    predicted = []
    for images_BCHW, labels_B in batches:
        images = len(labels_B)
        if batches.pads:  # the last batch is made as large as the others
            images_BCHW = F.pad(images_BCHW, [0] * 7 + [batches.batch_size - images])
        logits_BK: Tensor = network(images_BCHW)
        predicted.append(logits_BK[:images].argmax(1))
    return torch.cat(predicted)
