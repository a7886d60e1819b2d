"""scikit-learn's digits: 1797 images of 8x8 pixels in 17 shades; needs no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nas.data.splits import Labelled, Split, stratified

TEST_IMAGES = 360
CLASS_NAMES = tuple("0123456789")


def load(data_dir: Path, *, train: bool, download: bool = True) -> Labelled:
    """The 1437 images of the training set, or the 360 of the fixed, stratified test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    split = Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels))
    kept, test = stratified(labels, TEST_IMAGES, seed=0)
    return split.take(kept if train else test), CLASS_NAMES
