"""Atomic writes: a file is written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace the contents of a file; readers and crashes see the old file or the new one.

    Args:
        path: the file; its folder is made where it is missing.
        content: text, written as UTF-8, or bytes.

    Raises:
        OSError: the folder cannot be written or the disk is full; `path` did not change.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Write plain values as indented JSON, atomically."""
    write_atomic(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power cut, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot sync a folder
    finally:
        os.close(handle)
