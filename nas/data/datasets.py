"""The data sets by name: found or downloaded, and divided.

A search calls `load_search_data`, which never opens the test set; only retraining calls
`load_test_data`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.data import cifar, digits, fashion_mnist, folder
from nas.data.info import DatasetInfo, SearchData, fingerprint, mean_std
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


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and how it is divided and augmented."""

    load: Callable[..., Labelled]  # (data_dir, *, train, download)
    val_fraction: float  # of the training set
    crop: int  # pixels, at the size that `load` gives
    flip: bool  # whether a horizontal flip keeps the label


SOURCES: Mapping[str, Source] = {
    # 437 validation images of 1437: one is worth 0.23 %, and 1000 are left to train on.
    "digits": Source(digits.load, 437 / 1437, crop=1, flip=False),
    "fashion-mnist": Source(fashion_mnist.load, 0.1, crop=2, flip=True),
    "cifar10": Source(cifar.load_cifar10, 0.1, crop=4, flip=True),
    "cifar100": Source(cifar.load_cifar100, 0.1, crop=4, flip=True),
}
ACCEPTED = (*SOURCES, FOLDER_PREFIX + "PATH")


def load_search_data(
    name: str,
    data_dir: Path,
    *,
    image_size: int | None = None,
    val_fraction: float | None = None,
    seed: int = 0,
    download: bool = True,
) -> SearchData:
    """Training and validation split of a data set; the test set is not opened.

    Args:
        name: one of `SOURCES`, or folder:PATH.
        data_dir: where files are looked for and downloaded to.
        image_size: side that the images are resized to; None for the data set's own, and
            32 for a folder.
        val_fraction: of the training set; None for the data set's own.
        seed: of the stratified split into training and validation.
        download: whether what is not found may be downloaded.

    Raises:
        DatasetError: one line that says what is missing, damaged or too small.
    """
    source = _source(name, image_size)
    if val_fraction is None:
        val_fraction = source.val_fraction
    if not 0 < val_fraction < 1:
        raise DatasetError(f"val_fraction: {val_fraction:g}; accepted: between 0 and 1")
    found, class_names = source.load(data_dir, train=True, download=download)
    own_size = found.images.shape[-1]
    size = image_size or own_size
    return divide(
        resize(found, size),
        class_names,
        name=name,
        val_fraction=val_fraction,
        crop=max(1, round(source.crop * size / own_size)),
        flip=source.flip,
        seed=seed,
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
) -> SearchData:
    """Carve the validation split out of a training set, stratified.

    Raises:
        DatasetError: a class is too small.
    """
    held_out = max(len(class_names), round(len(whole) * val_fraction))
    try:
        kept, out = stratified(whole.labels.numpy(), held_out, seed)
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from None
    train, val = whole.take(kept), whole.take(out)
    mean, std = mean_std(train)
    info = DatasetInfo(
        name=name,
        image_size=whole.images.shape[-1],
        in_channels=train.images.shape[1],
        class_names=class_names,
        crop=crop,
        flip=flip,
        mean=mean,
        std=std,
        fingerprint=fingerprint(train, val, class_names),
    )
    return SearchData(info, train, val)


def load_test_data(name: str, data_dir: Path, *, image_size: int | None = None) -> Split:
    """The test set; for retraining alone, once per network.

    Raises:
        DatasetError: one line that says what is missing, damaged or too small.
    """
    test, _ = _source(name, image_size).load(data_dir, train=False, download=True)
    return resize(test, image_size or test.images.shape[-1])


def resolve_dataset(
    name: str, data_dir: Path, gpu: bool, *, download: bool = True
) -> tuple[str, str]:
    """The data set to use and why; `auto` never fails for want of a network.

    With a GPU it is CIFAR-10, without one Fashion-MNIST, found or downloaded; where that
    cannot be had, the digits. A data set asked for by name is never replaced.

    Raises:
        DatasetError: a name that is not known.
    """
    if name != "auto":
        _source(name, None)
        return name, "asked for"
    wanted = "cifar10" if gpu else "fashion-mnist"
    device = "a GPU" if gpu else "no GPU"
    try:
        SOURCES[wanted].load(data_dir, train=True, download=download)
    except DatasetError as error:
        return "digits", f"{device}, but no {wanted}: {error}"
    return wanted, f"{device}, and {wanted} is on this machine"


def _source(name: str, image_size: int | None) -> Source:
    if image_size is not None and not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise DatasetError(
            f"--image-size: {image_size}; accepted: {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}"
        )
    if name in SOURCES:
        return SOURCES[name]
    path = name.removeprefix(FOLDER_PREFIX)
    if path == name or not path:
        raise DatasetError(f"--dataset: {name[:80]!r}; accepted: {', '.join(ACCEPTED)}")
    size = image_size or folder.DEFAULT_IMAGE_SIZE

    def load(data_dir: Path, *, train: bool, download: bool) -> Labelled:
        return folder.load(Path(path).expanduser(), train=train, image_size=size)

    # Letters and digits are common in such folders, and a flip would spoil their labels.
    return Source(load, 0.2, crop=size // 8, flip=False)
