"""The data sets by name: found or downloaded, and divided.

A search calls `load_search_data`, which gives it no pixel of a test image; only retraining calls
`load_test_data`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.data import cifar, digits, fashion_mnist
from nas.data.download import NotDownloaded
from nas.data.folder import DEFAULT_IMAGE_SIZE, read_files
from nas.data.folder_dataset import load_folder
from nas.data.folder_layout import find_layout
from nas.data.image_file import parse_background
from nas.data.info import DataNotes, SearchData, describe
from nas.data.outline import NotHere, outline
from nas.data.splits import (
    MAX_IMAGE_SIZE,
    MIN_IMAGE_SIZE,
    DatasetError,
    Labelled,
    Split,
    resize,
    stratified,
)

FOLDER_PREFIX = "folder:"


class Load(Protocol):
    """Reads a data set that has a name."""

    def __call__(self, data_dir: Path, *, train: bool, download: bool) -> Labelled:
        """Read the training images (`train`) or the test images, downloading what is not there.

        Returns:
            A `Split` of uint8 images [N, C, H, W] and int64 labels [N] from 0, and the names of
            the classes.

        Raises:
            NotDownloaded: the files are not in `data_dir`, and `download` is False.
            DatasetError: the files are damaged, or `nas.data.download.downloading` failed.
        """


@dataclass(frozen=True)
class Source:
    """A data set that has a name: where it comes from, how it is divided and augmented."""

    load: Load
    shape: tuple[int, int, int]  # channels, height and width of an image
    train_images: int  # before the validation split is carved out
    test_images: int
    classes: int
    val_fraction: float  # of the training set
    crop: int  # pixels, at the size that `load` gives
    flip: bool  # whether a horizontal flip keeps the label


SOURCES: Mapping[str, Source] = {
    # 437 validation images of 1437: one is worth 0.23 %, and 1000 are left to train on.
    "digits": Source(digits.load, (1, 8, 8), 1437, 360, 10, 437 / 1437, crop=1, flip=False),
    # Its images are centred, and all shoes point to the left: small networks are less accurate with
    # crops and flips (`runners/benchmark.py retraining --parts long-ideas`).
    "fashion-mnist": Source(
        fashion_mnist.load, (1, 28, 28), 60_000, 10_000, 10, 0.1, crop=0, flip=False
    ),
    "cifar10": Source(cifar.load_cifar10, (3, 32, 32), 50_000, 10_000, 10, 0.1, crop=4, flip=True),
    "cifar100": Source(
        cifar.load_cifar100, (3, 32, 32), 50_000, 10_000, 100, 0.1, crop=4, flip=True
    ),
}
ACCEPTED = (*SOURCES, FOLDER_PREFIX + "PATH")


def load_search_data(
    name: str,
    data_dir: Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    background: str | None = None,
    val_fraction: float | None = None,
    seed: int = 0,
    download: bool = True,
) -> SearchData:
    """Training and validation split of a data set.

    The test images of a folder are decoded to see that retraining will be able to read them; no
    pixel of theirs is kept. Those of a data set that has a name are not opened.

    Args:
        name: one of `SOURCES`, or folder:PATH.
        data_dir: where files are looked for and downloaded to.
        image_size: side that the images are resized to; None for the data set's own, and
            32 for a folder.
        channels: 1 or 3, of a folder's images; None: 1 where all of them are grey.
        background: colour behind transparent pixels of a folder's images, accepted there alone;
            None: white.
        val_fraction: of the training set; None for the data set's own.
        seed: of the stratified split into training and validation.
        download: whether what is not found may be downloaded, and what does not fit into
            memory written beside the images.

    Raises:
        NotHere: `download` is False, and training would first have to download or to write.
        DatasetError: one line that says what is missing, damaged or too small.
    """
    _require(name, image_size, channels, val_fraction)
    if name not in SOURCES:
        asked = None if background is None else parse_background(background)
        return load_folder(
            name, folder_path(name), image_size, channels, asked, val_fraction, seed, keep=download
        )
    source = SOURCES[name]
    own_channels = source.shape[0]
    if background is not None:
        raise DatasetError(
            f"--background: {name} has no transparent pixels; accepted: with {ACCEPTED[-1]}"
        )
    if channels not in (None, own_channels):
        raise DatasetError(f"--channels {channels}: {name} has {own_channels}; accepted: auto")
    own_size = source.shape[-1]
    size = image_size or own_size
    try:
        whole, class_names = source.load(data_dir, train=True, download=download)
    except NotDownloaded as missing:
        raise NotHere(str(missing), _outline(name, source, size)) from None
    return divide(
        resize(whole, size),
        class_names,
        name=name,
        val_fraction=val_fraction or source.val_fraction,
        crop=max(1, round(source.crop * size / own_size)) if source.crop else 0,
        flip=source.flip,
        seed=seed,
        notes=DataNotes(test_images=source.test_images),
    )


def divide(
    whole: Split,
    class_names: tuple[str, ...],
    *,
    name: str,
    val_fraction: float,
    crop: int,
    flip: bool,
    seed: int,
    notes: DataNotes,
) -> SearchData:
    """Carve the validation split out of a training set, stratified.

    Raises:
        DatasetError: a class is too small.
    """
    held_out = max(len(class_names), round(len(whole) * val_fraction))
    try:
        kept, out = stratified(whole.labels.numpy(), held_out, seed, class_names)
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from None
    train, val = whole.take(kept), whole.take(out)
    return SearchData(describe(name, class_names, train, val, crop, flip), train, val, notes)


def load_test_data(
    name: str,
    data_dir: Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    background: str | None = None,
) -> Split:
    """The test set; for retraining alone, once per network.

    Args as of `load_search_data`, whose `DatasetInfo` has the `in_channels` and `background`
    that a folder's test images are to be read with.

    Raises:
        DatasetError: one line that says what is missing, damaged or too small.
    """
    _require(name, image_size, channels, None)
    if name in SOURCES:
        test, _ = SOURCES[name].load(data_dir, train=False, download=True)
        return resize(test, image_size or test.images.shape[-1])
    layout = find_layout(folder_path(name))
    size = image_size or DEFAULT_IMAGE_SIZE
    return read_files(layout.test, size, channels or 3, background, layout.path, "test")[0]


def resolve_dataset(
    name: str, data_dir: Path, gpu: bool, *, download: bool = True
) -> tuple[str, str]:
    """The data set to use and why; `auto` never fails for want of a network.

    With a GPU it is CIFAR-10, without one Fashion-MNIST, found or downloaded; where that
    cannot be had, the digits. A data set asked for by name is never replaced, and a folder's
    name is given with its absolute path.

    Raises:
        DatasetError: a name that is not known.
    """
    if name in SOURCES:
        return name, "asked for"
    if name != "auto":
        whole = folder_path(name, ("auto", *ACCEPTED)).absolute()
        try:
            return FOLDER_PREFIX + os.fsencode(whole).decode(), "asked for"
        except UnicodeDecodeError:
            raise DatasetError(
                f"--dataset: {name!r}: the path is not UTF-8; accepted: another name, or a "
                "symbolic link to the folder"
            ) from None
    wanted = "cifar10" if gpu else "fashion-mnist"
    device = "a GPU" if gpu else "no GPU"
    try:
        SOURCES[wanted].load(data_dir, train=True, download=download)
    except NotDownloaded:
        return wanted, f"{device}; the digits where it cannot be downloaded"
    except DatasetError as error:
        return "digits", f"{device}, but no {wanted}: {error}"
    return wanted, f"{device}, and {wanted} is on this machine"


def folder_path(name: str, accepted: Sequence[str] = ACCEPTED) -> Path:
    """The path in folder:PATH.

    Args:
        name: of a data set.
        accepted: what the message says is accepted.

    Raises:
        DatasetError: it is none.
    """
    text = name.removeprefix(FOLDER_PREFIX)
    if text == name or not text or "\0" in text:
        meant = f"; did you mean {FOLDER_PREFIX}{name}?" if _is_folder(name) else ""
        raise DatasetError(f"--dataset: {name[:80]!r}; accepted: {', '.join(accepted)}{meant}")
    # The same bytes in every locale, whatever it makes of those that are not ASCII
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape"))).expanduser()


def _is_folder(name: str) -> bool:
    return len(name) <= 80 and "\0" not in name and Path(name).is_dir()


def _outline(name: str, source: Source, size: int) -> SearchData:
    held_out = round(source.train_images * source.val_fraction)
    images = (source.train_images - held_out, held_out)
    names = tuple(map(str, range(source.classes)))
    notes = DataNotes(test_images=source.test_images)
    return outline(name, images, (source.shape[0], size, size), names, notes)


def _require(
    name: str, image_size: int | None, channels: int | None, val_fraction: float | None
) -> None:
    if image_size is not None and not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise DatasetError(
            f"--image-size: {image_size}; accepted: {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}"
        )
    if channels not in (None, 1, 3):
        raise DatasetError(f"--channels: {channels}; accepted: auto, 1, 3")
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise DatasetError(f"val_fraction: {val_fraction:g}; accepted: between 0 and 1")
    if name not in SOURCES:
        folder_path(name)
