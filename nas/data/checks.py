"""What is suspicious about a data set, in one line each, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from nas.data.folder import FileCounts
from nas.data.info import MIN_STD, DatasetInfo
from nas.data.splits import Split
from nas.format import format_number

MANY = 0.5  # share of the training images, from which on something is said
STRETCHED = 0.1  # likewise, of images that are squeezed
LEAKED = 0.01  # likewise, of the validation images
IMBALANCE = 10  # the largest class / the smallest
COLOURS = ("red", "green", "blue")


def warn_of_pixels(info: DatasetInfo, train: Split, val: Split) -> list[str]:
    """What the images and labels themselves show: nothing to learn, copies, small classes."""
    warnings = []
    for channel, std in enumerate(info.std):
        if std <= MIN_STD:
            which = f"the {COLOURS[channel]} channel" if info.in_channels == 3 else "the image"
            warnings.append(f"{which} hardly varies over all training images")
    trained, validated = _digests(train), _digests(val)
    digest, times = Counter(trained).most_common(1)[0]
    if times > MANY * len(trained) and len(trained) > 1:
        warnings.append(
            f"{times:,} of {format_number(len(trained), 'training image')} are identical once they "
            "are read"
        )
    labels = defaultdict(set)
    for digest, label in zip(trained, train.labels.tolist(), strict=True):
        labels[digest].add(label)
    ambiguous = sum(len(labels[digest]) > 1 for digest in trained)
    if ambiguous:
        warnings.append(
            f"{format_number(ambiguous, 'training image')} with a copy in another class"
        )
    copies = sum(digest in labels for digest in validated)
    if copies > LEAKED * len(validated):
        warnings.append(
            f"{copies:,} of {format_number(len(validated), 'validation image')} with a copy among "
            "the training images, so accuracies are too high"
        )
    counts = torch.bincount(train.labels, minlength=info.num_classes)
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    if counts[largest] >= IMBALANCE * counts[smallest]:
        warnings.append(
            f"classes differ in size: {format_number(int(counts[largest]), 'training image')} of "
            f"{info.class_names[largest]!r}, {int(counts[smallest]):,} of "
            f"{info.class_names[smallest]!r}; accuracy says little about the small ones; "
            "--metric balanced-accuracy counts classes alike"
        )
    return warnings


def warn_of_files(
    seen: Sequence[Path], test: Sequence[Path], counts: FileCounts, size: int
) -> list[str]:
    """What the files show: copies in the test set, several frames, what squares do to them.

    Args:
        seen: the files of the training and the validation split.
        test: those of the test set, which are not decoded.
        counts: of what was read for the training split.
        size: that images are read at, pixels.
    """
    warnings, images = [], counts.images
    copies = _copies(seen, test)
    if copies:
        warnings.append(
            f"{copies:,} of {format_number(len(test), 'test image')} with a copy among the "
            "training or validation images, so test accuracies are too high"
        )
    if counts.frames:
        warnings.append(
            f"{format_number(counts.frames, 'file')} with several frames or pages: "
            "the first one counts"
        )
    if counts.stretched > STRETCHED * images:
        warnings.append(
            f"{counts.stretched:,} of {format_number(images, 'image')} more than twice as long as "
            "wide, squeezed to squares"
        )
    if counts.enlarged > MANY * images:
        warnings.append(
            f"{counts.enlarged:,} of {format_number(images, 'image')} smaller than {size}x{size}, "
            "enlarged; --image-size sets the size"
        )
    return warnings


def _digests(split: Split) -> list[bytes]:
    return [
        hashlib.blake2b(image, digest_size=16).digest()
        for chunk in split.chunks()
        for image in chunk.contiguous().numpy()
    ]


def _copies(paths: Sequence[Path], others: Sequence[Path]) -> int:
    """How many of `others` have the bytes of one of `paths`; no image is decoded."""
    sizes = {path: path.stat().st_size for path in (*paths, *others)}
    common = {sizes[path] for path in paths} & {sizes[path] for path in others}
    known = {_hash(path) for path in paths if sizes[path] in common}
    return sum(_hash(path) in known for path in others if sizes[path] in common)


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
