"""Labelled images as tensors, and the ways to divide, thin out and resize them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nas.format import format_number

MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 4, 512  # pixels


class DatasetError(ValueError):
    """A data set that is missing, damaged or too small; the message is one line."""


CHUNK = 4096  # images that are worked on at a time


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Images that are too large for memory are mapped from a file; such a split is pickled as the
    file's path, so that a worker maps it too.
    """

    images: Tensor  # uint8 [N, C, H, W]
    labels: Tensor  # int64 [N]
    file: Path | None = None  # in NumPy's format, that the images are mapped from

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8
        assert self.images.ndim == 4
        assert self.labels.shape == self.images.shape[:1]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The images at `indices`, in that order."""
        chosen = torch.from_numpy(indices)
        return Split(self.images[chosen], self.labels[chosen])

    def balanced_size(self) -> float:
        """Images that would give a mean over all images the variance of a mean over classes.

        K^2 / sum(1 / n) over the K classes with n images each, where the classes' errors agree.
        """
        counts = np.unique(self.labels.numpy(), return_counts=True)[1]
        return float(len(counts) ** 2 / (1 / counts).sum())

    def chunks(self) -> Iterator[Tensor]:
        """The images, some at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.images[start : start + CHUNK]

    def digest(self) -> str:
        """SHA-256 of the images and labels, in hexadecimal digits."""
        sha = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for chunk in self.chunks():
            sha.update(chunk.numpy(force=True).tobytes())
        sha.update(self.labels.numpy(force=True).tobytes())
        return sha.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is None:
            return Split, (self.images, self.labels)
        return map_split, (self.file, self.images.shape[1], self.labels)


def map_split(file: Path, channels: int, labels: Tensor) -> Split:
    """A split whose images are mapped from a file.

    Args:
        file: an array of uint8 [N, C, H, W] in NumPy's format.
        channels: how many of its channels are taken.
        labels: int64 [N].

    Raises:
        DatasetError: there is no such file on this machine.
    """
    try:
        images = torch.from_numpy(np.load(file, mmap_mode="c"))  # never written to
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file}: cannot be mapped ({error}); accepted: data in a folder that every machine has"
        ) from None
    return Split(images[:, :channels], labels, file)


Labelled = tuple[Split, tuple[str, ...]]
"""Images with their labels, and the names of the classes in the order of the labels."""


def stratified(
    labels: NDArray[np.int64], held_out: int, seed: int, names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images that stay and of `held_out` others, both ascending.

    Each class is held out in proportion to its size. The same labels, number and
    seed give the same indices. `names` of the classes are for messages alone.

    Raises:
        DatasetError: either part would have fewer images than there are classes,
            or a class has a single image.
    """
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        label = int(classes[counts.argmin()])
        name = label if names is None else repr(names[label])
        raise DatasetError(f"class {name} has 1 image; accepted: at least 2")
    if min(held_out, len(labels) - held_out) < len(classes):
        raise DatasetError(
            f"{held_out:,} of {format_number(len(labels), 'image')} cannot be held out; "
            f"accepted: as many images in either part as there are classes, {len(classes)}"
        )
    kept, out = train_test_split(
        np.arange(len(labels)), test_size=held_out, stratify=labels, random_state=seed
    )
    return np.sort(kept), np.sort(out)


def thin_out(split: Split, images: int, seed: int) -> Split:
    """A stratified subset of at most `images` images, the same for the same seed.

    Raises:
        DatasetError: fewer images than there are classes.
    """
    if images >= len(split):
        return split
    counts = np.unique(split.labels, return_counts=True)[1]
    few = counts.min() < 2 or len(split) - images < len(counts)  # to stratify
    if few and len(counts) <= images:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:images])
        return split.take(chosen)
    _, chosen = stratified(split.labels.numpy(), images, seed)
    return split.take(chosen)


def resize(split: Split, size: int) -> Split:
    """Square images of `size` pixels: averaged over areas when smaller, else bilinear."""
    images = split.images
    if images.shape[-2:] == (size, size):
        return split
    resized = torch.empty((*images.shape[:2], size, size), dtype=torch.uint8)
    for start, chunk in zip(range(0, len(images), CHUNK), split.chunks(), strict=True):
        chunk = chunk.float()  # some at a time, which bounds the room that the floats take
        if size < images.shape[-1]:
            chunk = F.interpolate(chunk, size=(size, size), mode="area")
        else:
            chunk = F.interpolate(chunk, size=(size, size), mode="bilinear", align_corners=False)
        resized[start : start + CHUNK] = chunk.round_().clamp_(0, 255).to(torch.uint8)
    return Split(resized, split.labels)
