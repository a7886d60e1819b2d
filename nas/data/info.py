"""What is known of a data set without its images, and the data that a search may see."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from nas.data.splits import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, Split
from nas.format import format_number


@dataclass(frozen=True)
class DatasetInfo:
    """What a network and a study need to know of a data set."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str  # digits, fashion-mnist, cifar10, cifar100 or folder:PATH
    image_size: int  # side of the square images, pixels
    in_channels: int
    class_names: tuple[str, ...]
    crop: int  # pixels of padding for random crops
    flip: bool  # whether a horizontal flip keeps the label
    mean: tuple[float, ...]  # per channel, of the training split, in [0, 1]
    std: tuple[float, ...]
    fingerprint: str  # hash of the training and validation images, labels and class names
    background: str | None = None  # behind transparent pixels, #rrggbb; None: there were none

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def augmentation(self) -> str:
        """How training images are changed at random, in words."""
        crops = [f"crops from a margin of {self.crop} px"] if self.crop else []
        return " and ".join([*crops, *(["horizontal flips"] if self.flip else [])]) or (
            "no crops or flips"
        )

    def resized(self, size: int) -> DatasetInfo:
        """The same with images of `size` pixels a side; crops shift by the same share of them."""
        crop = max(1, round(self.crop * size / self.image_size)) if self.crop else 0
        return replace(self, image_size=size, crop=crop)

    def reading(self) -> dict[str, Any]:
        """Arguments of `load_search_data` and `load_test_data` that read images in the same way."""
        return {
            "image_size": self.image_size,
            "channels": self.in_channels,
            "background": self.background,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        data = asdict(self)
        for name in ("class_names", "mean", "std"):
            data[name] = list(data[name])
        if self.background is None:  # as in files that were written before there was one
            del data["background"]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatasetInfo:
        """Inverse of `to_dict`. Raises ValueError naming the field that is wrong."""
        try:
            info = _ADAPTER.validate_json(json.dumps(dict(data), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"data set: {_first_line(error)}") from None
        if not (
            MIN_IMAGE_SIZE <= info.image_size <= MAX_IMAGE_SIZE
            and info.in_channels in (1, 3)
            and info.num_classes >= 2
            and 0 <= info.crop < info.image_size
            and len(info.mean) == len(info.std) == info.in_channels
            and all(0 <= mean <= 1 for mean in info.mean)
            and all(0 < std <= 1 for std in info.std)
            and re.fullmatch("#[0-9a-f]{6}", info.background or "#ffffff")
        ):
            raise ValueError(f"data set: the description of {info.name!r} contradicts itself")
        return info


MIN_STD = 1 / 255  # of a channel that is constant
_ADAPTER = TypeAdapter(DatasetInfo)


@dataclass(frozen=True)
class SplitRecord:
    """What a study remembers of its splits, to say later what has changed."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    train: int  # images
    val: int
    test: int | None  # None: not known
    test_fingerprint: str | None  # hash of the test files, apart from that of the others

    def test_change(self, now: SplitRecord) -> str:
        """How the test set differs from that of `now`, in words; empty where it does not."""
        if None in (self.test_fingerprint, now.test_fingerprint) or (
            self.test_fingerprint == now.test_fingerprint
        ):
            return ""
        images = format_number(self.test or 0, "image")
        counts = f"{images} then, {now.test:,} now"
        if self.test == now.test:
            counts = f"{images}, not all with the same contents"
        return f"the test set has changed since the search began: {counts}"

    def change(self, now: SplitRecord) -> str:
        """How many training and validation images there are, where that has changed."""
        if (self.train, self.val) == (now.train, now.val):
            return ""
        return (
            f"{self.train:,} training and {format_number(self.val, 'validation image')} then, "
            f"{now.train:,} and {now.val:,} now"
        )


@dataclass(frozen=True)
class DataNotes:
    """What people are told of a data set before anything is trained on it."""

    test_images: int | None = None  # None: not known
    test_fingerprint: str | None = None  # hash of the test files; None: not files in a folder
    origin: Mapping[str, str] = field(default_factory=dict)  # of train, val and test, in words
    ignored: Mapping[str, int] = field(default_factory=dict)  # files left out, by suffix or reason
    warnings: tuple[str, ...] = ()
    download: str | None = None  # what would be fetched first, and from where


@dataclass(frozen=True)
class SearchData:
    """What a search may see: no test set."""

    info: DatasetInfo
    train: Split
    val: Split
    notes: DataNotes = field(default_factory=DataNotes)

    @property
    def record(self) -> SplitRecord:
        """What a study remembers of the splits."""
        return SplitRecord(
            len(self.train), len(self.val), self.notes.test_images, self.notes.test_fingerprint
        )


def mean_std(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in [0, 1], from counts of shades."""
    shades = np.arange(256) / 255
    means, stds = [], []
    for channel in range(split.images.shape[1]):
        counts = sum(
            np.bincount(chunk[:, channel].numpy().ravel(), minlength=256)
            for chunk in split.chunks()
        )
        mean = float(np.average(shades, weights=counts))
        std = float(np.sqrt(np.average((shades - mean) ** 2, weights=counts)))
        means.append(mean)
        stds.append(max(std, MIN_STD))
    return tuple(means), tuple(stds)


def fingerprint(train: Split, val: Split, class_names: tuple[str, ...]) -> str:
    """16 hexadecimal digits over the contents of both splits, in order."""
    parts = (train.digest(), val.digest(), *class_names)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _first_line(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "not a mapping of plain values"
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def describe(
    name: str, class_names: tuple[str, ...], train: Split, val: Split, crop: int, flip: bool
) -> DatasetInfo:
    """What a search knows of a data set, from its splits.

    Args:
        name: as in a search.
        class_names: one for each label.
        train: the mean and the standard deviation are of its pixels.
        val: counts in the fingerprint.
        crop: pixels that a training image may be shifted by.
        flip: whether a horizontal flip keeps the label.
    """
    mean, std = mean_std(train)
    return DatasetInfo(
        name=name,
        image_size=train.images.shape[-1],
        in_channels=train.images.shape[1],
        class_names=class_names,
        crop=crop,
        flip=flip,
        mean=mean,
        std=std,
        fingerprint=fingerprint(train, val, class_names),
    )
