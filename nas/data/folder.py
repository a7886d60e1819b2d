"""A folder of images, read whole; more than fits into memory is mapped from a file."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.folder_layout import Files
from nas.data.image_cache import FOLDER, remember, remember_check
from nas.data.image_file import WHITE, Pixels, read_pixels
from nas.data.splits import DatasetError, Split, map_split

DEFAULT_IMAGE_SIZE = 32  # pixels
MAX_BYTES = 8 * 2**30  # of a split's images in memory; more are mapped
MAX_NAMED = 3  # files that an error names
STRETCHED = 2.0  # a side's length / the other's


class NotKept(DatasetError):
    """Images that do not fit into memory and were not to be written to a file."""


class Unreadable(DatasetError):
    """Files that cannot be read; the message names the first few.

    Args:
        errors: a line for each of them.
    """

    def __init__(self, errors: Sequence[str]) -> None:
        more = len(errors) - MAX_NAMED
        named = "; ".join(errors[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
        them = "it" if len(errors) == 1 else "them"
        super().__init__(f"{named}; accepted: the folder without {them}")
        self.errors = errors


@dataclass(frozen=True)
class FileCounts:
    """How many files of a split have something that is worth saying."""

    images: int = 0
    transparent: int = 0
    frames: int = 0  # several, of which the first one counts
    stretched: int = 0  # squeezed to a square from more than twice as long as wide
    enlarged: int = 0  # smaller than the size that they are read at


def read_files(
    files: Files,
    size: int,
    channels: int,
    background: str | None,
    root: Path,
    split: str,
    *,
    keep: bool = True,
) -> tuple[Split, FileCounts]:
    """The images of a split, squeezed to squares.

    Args:
        files: what is read.
        size: side of the squares, pixels.
        channels: 1 or 3.
        background: behind transparent pixels, #rrggbb; None: white.
        root: the data set's folder, in which images that exceed `MAX_BYTES` are kept.
        split: names the file that they are kept in.
        keep: whether that file may be written.

    Raises:
        NotKept: it would have to be written.
        Unreadable: some files cannot be read.
    """
    shape = (len(files), channels, size, size)
    labels = torch.from_numpy(files.labels)
    read = partial(_read, files, size, channels, background or WHITE)
    needed = int(np.prod(shape, dtype=np.int64))
    if needed <= MAX_BYTES:
        images = np.empty(shape, dtype=np.uint8)
        return Split(torch.from_numpy(images), labels), read(images)
    if not keep:
        raise NotKept(
            f"folder {root}: {needed / 2**30:.1f} GiB of {split} images would be written to "
            f"{root / FOLDER}"
        )
    key = _key(files, shape, background or WHITE, root)
    file, counts = remember(root, split, key, shape, lambda images: asdict(read(images)))
    return map_split(file, channels, labels), FileCounts(**counts)


def check_files(
    files: Files, size: int, channels: int, background: str | None, root: Path, *, once: bool
) -> str:
    """Decode the images of a test set without keeping any, and hash their files.

    Only decoding tells whether a file can be read, as most formats have no checksum. Nothing
    that depends on a pixel leaves this function but the hash, which is for comparison alone.

    Args as of `read_files`, and
        once: whether what is known of files that have not changed since is taken; it is kept
            beside the images that exceed `MAX_BYTES`.

    Returns:
        16 hexadecimal digits over the contents and labels of all files, in any order.

    Raises:
        Unreadable: some files cannot be read.
    """
    contents = [b""] * len(files)

    def check(index: int) -> Pixels:
        path = files.paths[index]
        pixels = read_pixels(path, size, channels, background or WHITE)
        with path.open("rb") as file:
            contents[index] = hashlib.file_digest(file, "sha256").digest()
        return pixels

    def check_all() -> str:
        for _ in _each(files, check):
            pass
        whole = hashlib.sha256()
        for label, digest in sorted(zip(files.labels.tolist(), contents, strict=True)):
            whole.update(b"%d " % label + digest)
        return whole.hexdigest()[:16]

    if not once:
        return check_all()
    key = _key(files, (len(files), channels, size, size), background or WHITE, root)
    return remember_check(root, key, check_all)


def all_grey(split: Split) -> bool:
    """Whether the three channels of every image are the same."""
    return all(
        bool((chunk[:, 0] == chunk[:, 1]).all() and (chunk[:, 0] == chunk[:, 2]).all())
        for chunk in split.chunks()
    )


def first_channel(split: Split) -> Split:
    """Grey images of one channel out of three that are the same."""
    if split.file is not None:
        return map_split(split.file, 1, split.labels)
    return Split(split.images[:, :1].contiguous(), split.labels)


def _read(
    files: Files, size: int, channels: int, background: str, images: NDArray[np.uint8]
) -> FileCounts:
    """Fill `images`."""

    def read(index: int) -> Pixels:
        one = read_pixels(files.paths[index], size, channels, background)
        images[index] = one.pixels
        return one

    transparent = frames = stretched = enlarged = 0
    for one in _each(files, read):
        transparent += one.transparent
        frames += one.frames
        stretched += max(one.width, one.height) > STRETCHED * min(one.width, one.height)
        enlarged += max(one.width, one.height) < size
    return FileCounts(len(files), transparent, frames, stretched, enlarged)


def _each(files: Files, read: Callable[[int], Pixels]) -> Iterator[Pixels]:
    """What `read` gives for the index of each file that can be read, in order, by threads.

    Raises:
        Unreadable: at the end.
    """

    def attempt(index: int) -> Pixels | DatasetError:
        try:
            return read(index)
        except DatasetError as error:
            return error

    errors = []
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # of damaged metadata, and of large files: ours is stricter
        for one in pool.map(attempt, range(len(files))):
            if isinstance(one, DatasetError):
                errors.append(str(one))
            else:
                yield one
    if errors:
        raise Unreadable(errors)


def _key(files: Files, shape: tuple[int, ...], background: str, root: Path) -> str:
    """16 hexadecimal digits over what the images are read from and how."""
    sha = hashlib.sha256(json.dumps([1, shape, background]).encode())
    for path, label in zip(files.paths, files.labels.tolist(), strict=True):
        status = path.stat()
        name = os.fsencode(path.relative_to(root))
        sha.update(b"%s\0%d %d %d\n" % (name, label, status.st_size, status.st_mtime_ns))
    return sha.hexdigest()[:16]
