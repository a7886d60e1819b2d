"""What a network does on each class of the test set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def class_results(labels_N: Tensor, predicted_N: Tensor, classes: int) -> dict[str, Any]:
    """Accuracy of each class, and which classes are taken for which, as plain values.

    Args:
        labels_N: the classes of the images.
        predicted_N: the classes that the network gives them.
        classes: their number.

    Returns:
        `class_images` and `class_right`, lists with an entry for each class: its images, and
        those that are classified right; `confusions`, a list of [class, predicted class, images]
        of the others, the most frequent first. Together they are the confusion matrix, which for
        a thousand classes would hold a million numbers.
    """
    labels_N, predicted_N = labels_N.cpu(), predicted_N.cpu()
    right_N = labels_N == predicted_N
    wrong = torch.stack([labels_N[~right_N], predicted_N[~right_N]])
    pairs, counts = torch.unique(wrong, dim=1, return_counts=True)
    confusions = [
        [int(label), int(taken), int(count)]
        for label, taken, count in zip(*pairs.tolist(), counts.tolist(), strict=True)
    ]
    return {
        "class_images": torch.bincount(labels_N, minlength=classes).tolist(),
        "class_right": torch.bincount(labels_N[right_N], minlength=classes).tolist(),
        "confusions": sorted(confusions, key=lambda one: (-one[2], one)),
    }
