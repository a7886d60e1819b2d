"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour images of 32x32 pixels, by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.data.download import NotDownloaded, downloading
from nas.data.splits import DatasetError, Labelled, Split

ARCHIVE_BYTES = {"cifar10": 170_498_071, "cifar100": 169_001_437}


def load_cifar10(data_dir: Path, *, train: bool, download: bool = True) -> Labelled:
    """CIFAR-10, found in `data_dir` or downloaded into it."""
    from torchvision.datasets import CIFAR10

    return _load("cifar10", CIFAR10, data_dir, train, download)


def load_cifar100(data_dir: Path, *, train: bool, download: bool = True) -> Labelled:
    """CIFAR-100, found in `data_dir` or downloaded into it."""
    from torchvision.datasets import CIFAR100

    return _load("cifar100", CIFAR100, data_dir, train, download)


def _load(name: str, family: Any, data_dir: Path, train: bool, download: bool) -> Labelled:
    """Torchvision checks every file's checksum before it reads one.

    Raises:
        NotDownloaded: not found, and not to be downloaded.
        DatasetError: damaged, or the download failed.
    """
    from torchvision.datasets.utils import check_integrity

    folder = data_dir / family.base_folder
    try:
        dataset = family(str(data_dir), train=train, download=False)
    except RuntimeError:
        if folder.is_dir() and any(folder.iterdir()):
            raise DatasetError(
                f"{name}: {folder} is incomplete or damaged; remove it to download it again"
            ) from None
        archive = data_dir / family.filename
        if check_integrity(str(archive), family.tgz_md5):
            dataset = family(str(data_dir), train=train, download=True)  # only unpacks
        elif download:
            with downloading(name, family.url, data_dir):
                dataset = family(str(data_dir), train=train, download=True)
        else:
            raise NotDownloaded(name, data_dir, family.url, ARCHIVE_BYTES[name]) from None
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(np.asarray(dataset.targets, dtype=np.int64))
    return Split(images, labels), tuple(dataset.classes)
