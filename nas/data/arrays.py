"""A data set of one's own, out of arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.checks import warn_of_pixels
from nas.data.datasets import divide
from nas.data.info import DataNotes, SearchData
from nas.data.splits import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, DatasetError, Split
from nas.format import format_number


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
        labels: [N], classes from 0 on; each has images unless `class_names` names it.
        name: recorded in the study.
        class_names: of the labels in their order; the numbers themselves by default.
        val_fraction: of the images, held out of each class in proportion to its size.
        crop: pixels of padding for random crops; an eighth of the side by default.
        flip: whether a horizontal flip keeps the label.
        seed: of the division.

    Warns of images that are almost all the same and of classes that differ much in size.

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
    names = _class_names(labels, class_names)
    crop = side // 8 if crop is None else crop
    for argument, value, accepted, values in (
        ("name", name, isinstance(name, str) and bool(name), "text"),
        ("val_fraction", val_fraction, _is_number(val_fraction, 0, 1), "between 0 and 1"),
        ("crop", crop, isinstance(crop, int) and 0 <= crop < side, f"0 to {side - 1} pixels"),
        ("flip", flip, isinstance(flip, bool), "True or False"),
        ("seed", seed, isinstance(seed, int) and 0 <= seed < 2**32, "0 to 4294967295"),
    ):
        if not accepted:
            raise DatasetError(f"{argument}: {value!r}; accepted: {values}")
    whole = Split(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.from_numpy(labels.astype(np.int64)),
    )
    data = divide(
        whole,
        names,
        name=name,
        val_fraction=val_fraction,
        crop=crop,
        flip=flip,
        seed=seed,
        notes=DataNotes(),
    )
    notes = DataNotes(warnings=tuple(warn_of_pixels(data.info, data.train, data.val)))
    for text in notes.warnings:
        warnings.warn(f"{name}: {text}", stacklevel=2)
    return replace(data, notes=notes)


def _class_names(labels: NDArray[np.integer], class_names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of all classes, after a check that the labels fit them."""
    present = set(np.unique(labels).tolist())
    if class_names is None:
        names = tuple(map(str, range(len(present))))
        if present != set(range(len(present))):
            count = format_number(len(present), "class", "classes")
            raise DatasetError(
                f"labels: {count} from {min(present)} to {max(present)}; accepted: "
                f"0 to {len(present) - 1}, or class_names that name classes without images too"
            )
    else:
        names = tuple(class_names)
        if not all(isinstance(name, str) and name for name in names):
            raise DatasetError("class_names: not all are text; accepted: a name for each class")
        if isinstance(class_names, str) or len(set(names)) < len(names):
            raise DatasetError("class_names: some are the same; accepted: a name for each class")
        if present and not 0 <= min(present) <= max(present) < len(names):
            raise DatasetError(
                f"labels: {min(present)} to {max(present)}; accepted: 0 to {len(names) - 1}, as "
                f"class_names names {format_number(len(names), 'class', 'classes')}"
            )
    if len(present) < 2:
        count = format_number(len(present), "class", "classes")
        raise DatasetError(f"labels: {count}; accepted: at least two classes")
    return names


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and low < value < high
