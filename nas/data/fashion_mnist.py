"""Fashion-MNIST: 60,000 + 10,000 grey images of 28x28 pixels in idx files."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.download import downloading
from nas.data.splits import DatasetError, Labelled, Split

IMAGE_SIZE = 28
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801
MAX_IMAGES = 1_000_000


def load(data_dir: Path, *, train: bool, download: bool = True) -> Labelled:
    """The training or the test set, read from its own two files.

    They are looked for in `data_dir`, in torchvision's folder inside it and where
    Debian's package `dataset-fashion-mnist` puts them, then downloaded.

    Raises:
        DatasetError: no such files, or one of them is damaged.
    """
    files = find(data_dir, train=train)
    if files is None:
        if not download:
            raise DatasetError(f"fashion-mnist: not found in {data_dir} or {DEBIAN_FOLDER}")
        _download(data_dir)
        files = find(data_dir, train=train)
        assert files is not None
    images = _read_idx(files[0], IMAGES_MAGIC, (IMAGE_SIZE, IMAGE_SIZE))
    labels = _read_idx(files[1], LABELS_MAGIC, ())
    if len(images) != len(labels):
        raise DatasetError(f"{files[1]}: {len(labels)} labels for {len(images)} images")
    if labels.max() >= len(CLASS_NAMES):
        raise DatasetError(f"{files[1]}: label {labels.max()}; accepted: 0 to 9")
    split = Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)))
    return split, CLASS_NAMES


def find(data_dir: Path, *, train: bool) -> tuple[Path, Path] | None:
    """Files of images and of labels in the first folder that has both, or None."""
    prefix = "train" if train else "t10k"
    folders = (data_dir, data_dir / "fashion-mnist", data_dir / "FashionMNIST" / "raw")
    for folder in (*folders, DEBIAN_FOLDER):
        images = _either(folder / f"{prefix}-images-idx3-ubyte")
        labels = _either(folder / f"{prefix}-labels-idx1-ubyte")
        if images and labels:
            return images, labels
    return None


def _either(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def _download(data_dir: Path) -> None:
    from torchvision.datasets import FashionMNIST

    with downloading("fashion-mnist", FashionMNIST.mirrors[0], data_dir):
        FashionMNIST(str(data_dir), train=True, download=True)


def _read_idx(path: Path, magic: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Array of uint8 [N, *shape] from an idx file, gzipped or not."""
    header_bytes = 8 + 4 * len(shape)
    item = int(np.prod(shape, dtype=int))
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, "rb") as file:
            header = file.read(header_bytes)
            if len(header) < header_bytes:
                raise DatasetError(f"{path}: truncated; its header has {header_bytes} bytes")
            found, count, *sides = struct.unpack(f">{header_bytes // 4}I", header)
            if found != magic:
                raise DatasetError(f"{path}: magic {found:#010x}; accepted: {magic:#010x}")
            if tuple(sides) != shape:
                raise DatasetError(f"{path}: images of {sides[0]}x{sides[1]}; accepted: 28x28")
            if not 0 < count <= MAX_IMAGES:
                raise DatasetError(f"{path}: {count} items; accepted: 1 to {MAX_IMAGES}")
            # One byte more than is due, so that a longer file is noticed without reading it all.
            body = file.read(count * item + 1)
    except EOFError:
        raise DatasetError(f"{path}: truncated gzip file") from None
    except zlib.error as error:
        raise DatasetError(f"{path}: damaged gzip file ({error})") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(body) != count * item:
        size = "more" if len(body) > count * item else f"{len(body)}"
        raise DatasetError(f"{path}: wrong size; {count * item} bytes were announced, not {size}")
    return np.frombuffer(body, dtype=np.uint8).reshape(count, *shape).copy()
