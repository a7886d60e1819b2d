"""A data set of one's own, out of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.datasets import divide
from nas.data.info import SearchData
from nas.data.splits import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, DatasetError, Split


def from_arrays(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    crop: int | None = None,
    flip: bool = False,
    seed: int = 0,
) -> SearchData:
    """Training and validation split of labelled images.

    Args:
        images: uint8, [N, H, W] in grey or [N, H, W, 3] in colour, square.
        labels: [N], classes from 0 on.
        name: recorded in the study.
        class_names: of the labels in their order; the numbers themselves by default.
        val_fraction: of the images, held out of each class in proportion to its size.
        crop: pixels of padding for random crops; an eighth of the side by default.
        flip: whether a horizontal flip keeps the label.
        seed: of the division.

    Raises:
        DatasetError: one line that says what is accepted.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., None]
    side = images.shape[1] if images.ndim == 4 else 0
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[2] != side
        or images.shape[3] not in (1, 3)
        or not MIN_IMAGE_SIZE <= side <= MAX_IMAGE_SIZE
    ):
        raise DatasetError(
            f"images: {images.dtype} {list(images.shape)}; accepted: uint8 [N, H, W] or "
            f"[N, H, W, 3], square, {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(
            f"labels: {labels.dtype} {list(labels.shape)}; accepted: whole numbers [{len(images)}]"
        )
    classes = len(class_names) if class_names is not None else int(labels.max(initial=0)) + 1
    if classes < 2 or labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise DatasetError(f"labels: not from 0 to {classes - 1}; accepted: at least two classes")
    if not 0 < val_fraction < 1:
        raise DatasetError(f"val_fraction: {val_fraction:g}; accepted: between 0 and 1")
    whole = Split(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.from_numpy(labels.astype(np.int64)),
    )
    return divide(
        whole,
        tuple(class_names) if class_names is not None else tuple(map(str, range(classes))),
        name=name,
        val_fraction=val_fraction,
        crop=side // 8 if crop is None else crop,
        flip=flip,
        seed=seed,
    )
