"""Fashion-MNIST: 60,000 + 10,000 grey images of 28x28 pixels, by torchvision."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from nas.data.download import NotDownloaded, downloading
from nas.data.splits import DatasetError, Labelled, Split
from nas.format import format_number

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
DOWNLOAD_BYTES = 30_878_645


def load(data_dir: Path, *, train: bool, download: bool = True) -> Labelled:
    """The training or the test set, read from its own two files.

    They are looked for in `data_dir`, in torchvision's folder inside it and where
    Debian's package `dataset-fashion-mnist` puts them, then downloaded.

    Raises:
        NotDownloaded: no such files, and they are not to be downloaded.
        DatasetError: a file is damaged, or the download failed.
    """
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.mnist import read_image_file, read_label_file

    files = find(data_dir, train=train)
    if files is None:
        url = FashionMNIST.mirrors[0]
        if not download:
            raise NotDownloaded("fashion-mnist", data_dir, url, DOWNLOAD_BYTES)
        with downloading("fashion-mnist", url, data_dir):
            FashionMNIST(str(data_dir), train=True, download=True)
        files = find(data_dir, train=train)
        assert files is not None
    images, labels = _read(files[0], read_image_file), _read(files[1], read_label_file)
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise DatasetError(f"{files[0]}: images of {list(images.shape[1:])}; accepted: 28x28")
    if len(images) != len(labels):
        counts = format_number(len(labels), "label"), format_number(len(images), "image")
        raise DatasetError(f"{files[1]}: {counts[0]} for {counts[1]}")
    if len(labels) == 0 or int(labels.max()) >= len(CLASS_NAMES):
        raise DatasetError(
            f"{files[1]}: label {labels.max() if len(labels) else None}; accepted: 0 to 9"
        )
    return Split(images.unsqueeze(1), labels), CLASS_NAMES


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


def _read(path: Path, reader: Callable[[str], Tensor]) -> Tensor:
    """An idx file by torchvision's reader, which takes no gzipped one."""
    try:
        if path.suffix != ".gz":
            return reader(str(path))
        with tempfile.NamedTemporaryFile(suffix=path.stem) as plain:
            plain.write(gzip.decompress(path.read_bytes()))
            plain.flush()
            return reader(plain.name)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None
    except (AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DatasetError(f"{path}: damaged; not the idx file of that name ({error})") from None
