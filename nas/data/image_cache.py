"""Images as an array in a file beside the data, for those that do not fit into memory."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from nas.data.splits import DatasetError

FOLDER = ".nas-cache"  # hidden, so that it is not taken for a class


def remember(
    root: Path,
    split: str,
    key: str,
    shape: tuple[int, ...],
    read: Callable[[NDArray[np.uint8]], dict[str, Any]],
) -> tuple[Path, dict[str, Any]]:
    """Find a split's images in their file, or write that first, whole or not at all.

    Args:
        root: the data set's folder.
        split: train, val or test; has one file of each size, which another key replaces.
        key: of what the images are read from and how.
        shape: of the array.
        read: fills the array; gives plain values to keep beside it.

    Returns:
        The file, in NumPy's format, and what `read` gave.

    Raises:
        DatasetError: the folder cannot be written, or the disk is too small.
    """
    folder = root / FOLDER
    name = f"{split}-{shape[1]}x{shape[2]}x{shape[3]}"
    images, said = folder / f"{name}-{key}.npy", folder / f"{name}-{key}.json"
    needed = int(np.prod(shape, dtype=np.int64))
    try:
        folder.mkdir(exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            if images.exists() and said.exists():
                return images, json.loads(said.read_bytes())
            for stale in folder.glob(f"{name}-*"):
                stale.unlink()
            free = shutil.disk_usage(folder).free
            if free < needed:
                raise DatasetError(
                    f"folder {root}: its images need {needed / 2**30:.1f} GiB in {folder}, where "
                    f"{free / 2**30:.1f} GiB are free; accepted: a smaller --image-size"
                )
            unfinished = folder / f"{name}-unfinished.npy"
            array = np.lib.format.open_memmap(unfinished, "w+", np.uint8, shape)
            values = read(array)
            array.flush()
            del array
            said.write_text(json.dumps(values))
            unfinished.replace(images)  # from here on both count
            return images, values
    except (OSError, json.JSONDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(
            f"folder {root}: its images need more memory than is taken for them, and {folder} "
            f"cannot be written ({reason}); accepted: a smaller --image-size, or a folder that can"
        ) from None


def remember_check(root: Path, key: str, check: Callable[[], str]) -> str:
    """What `check` gives for a test set, once for each key; a folder that exists remembers it.

    Args:
        root: the data set's folder.
        key: of the files and of how they are read.
        check: gives a fingerprint.
    """
    file = root / FOLDER / f"test-{key}.txt"
    with suppress(OSError, ValueError):
        if re.fullmatch("[0-9a-f]{16}", found := file.read_text()):
            return found
    found = check()
    with suppress(OSError):  # the next start checks again
        for stale in file.parent.glob("test-*.txt"):
            stale.unlink()
        file.write_text(found)
    return found
