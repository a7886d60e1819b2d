"""A folder of images, one folder a class: PATH/CLASS/* or PATH/{train,test}/CLASS/*."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from nas.data.splits import DatasetError, Labelled, Split, stratified

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"))
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
DEFAULT_IMAGE_SIZE = 32  # pixels
MIN_CLASSES, MAX_CLASSES = 2, 10_000
MIN_PER_CLASS = 5  # images: enough for training, validation and test
MAX_FILE_PIXELS = 50_000_000  # a file that unpacks to more is refused unread
MAX_BYTES = 8 * 2**30  # of all images at the size asked for
TEST_FRACTION = 0.2


def load(path: Path, *, train: bool, image_size: int) -> Labelled:
    """RGB images of the training or of the test set, squeezed to squares.

    Where there is no PATH/train, a stratified fifth of all files is the test set, the
    same for the same file names. Only the files of the set asked for are opened.

    Raises:
        DatasetError: naming the folder, class or file that is wrong.
    """
    files, labels, class_names = find(path, train=train)
    if len(files) * 3 * image_size**2 > MAX_BYTES:
        raise DatasetError(
            f"folder {path}: {len(files)} images of {image_size}x{image_size} need more than "
            f"{MAX_BYTES // 2**30} GiB; accepted: a smaller --image-size"
        )
    images = np.empty((len(files), 3, image_size, image_size), dtype=np.uint8)

    def read(index: int) -> None:
        images[index] = read_image(files[index], image_size)

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is stricter
        try:
            for _ in pool.map(read, range(len(files))):
                pass
        except DatasetError:
            pool.shutdown(cancel_futures=True)
            raise
    return Split(torch.from_numpy(images), torch.from_numpy(labels)), class_names


def find(path: Path, *, train: bool) -> tuple[list[Path], NDArray[np.int64], tuple[str, ...]]:
    """Files, labels and class names of the training or of the test set; none is opened.

    Raises:
        DatasetError: no such folder, no or too few images, or a class without a counterpart.
    """
    if not path.is_dir():
        raise DatasetError(f"folder {path}: no such folder")
    divided = (path / "train").is_dir()
    class_names, files, labels = _scan(path / "train" if divided else path)
    if not divided:
        held_out = max(len(class_names), round(len(files) * TEST_FRACTION))
        kept, test = stratified(labels, held_out, seed=0)
        chosen = kept if train else test
        return [files[i] for i in chosen], labels[chosen], class_names
    if train:
        return files, labels, class_names
    if not (path / "test").is_dir():
        raise DatasetError(f"folder {path / 'test'}: no such folder; {path / 'train'} needs one")
    test_names, files, labels = _scan(path / "test", min_per_class=1)
    if test_names != class_names:
        odd = min(set(test_names) ^ set(class_names))
        raise DatasetError(f"folder {path}: class {odd!r} is in only one of train and test")
    return files, labels, class_names


def _scan(
    path: Path, min_per_class: int = MIN_PER_CLASS
) -> tuple[tuple[str, ...], list[Path], NDArray[np.int64]]:
    try:
        folders = sorted(
            entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )
    except OSError as error:
        raise DatasetError(f"folder {path}: cannot be read ({error.strerror})") from None
    if not MIN_CLASSES <= len(folders) <= MAX_CLASSES:
        raise DatasetError(
            f"folder {path}: {len(folders)} class folders; "
            f"accepted: {MIN_CLASSES} to {MAX_CLASSES}, one a class, with the images inside"
        )
    files: list[Path] = []
    counts: list[int] = []
    for folder in folders:
        images = _images(folder)
        if len(images) < min_per_class:
            raise DatasetError(
                f"folder {path}: class {folder.name!r} has {len(images)} images; "
                f"accepted: at least {min_per_class} ({', '.join(sorted(SUFFIXES))})"
            )
        files += images
        counts.append(len(images))
    labels = np.repeat(np.arange(len(folders)), counts)
    return tuple(folder.name for folder in folders), files, labels


def _images(folder: Path) -> Sequence[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_image(source: Path | Image.Image, size: int, mode: str = "RGB") -> NDArray[np.uint8]:
    """One image file or PIL image as uint8, [3, size, size], or [1, size, size] in mode "L".

    Raises:
        DatasetError: the source is no image that can be read.
    """
    path = source if isinstance(source, Path) else "image"
    try:
        with (
            Image.open(source, formats=FORMATS)
            if isinstance(source, Path)
            else nullcontext(source)  # the caller's image stays open
        ) as image:
            if not 0 < image.width * image.height <= MAX_FILE_PIXELS:
                raise DatasetError(
                    f"{path}: {image.width}x{image.height} pixels; "
                    f"accepted: 1 to {MAX_FILE_PIXELS} in all"
                )
            upright = ImageOps.exif_transpose(image).convert(mode)
            small = upright.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    except DatasetError:
        raise
    except UnidentifiedImageError:
        raise DatasetError(f"{path}: not an image that can be read") from None
    except Exception as error:  # decoders raise anything on a damaged file
        line = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: not an image that can be read ({line})") from None
    return np.atleast_3d(np.asarray(small, dtype=np.uint8)).transpose(2, 0, 1)
