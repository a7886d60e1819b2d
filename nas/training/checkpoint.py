"""Checkpoints that survive a kill at any moment: the newest one, and the one before it.

Files are `torch.save`'s. They are zip archives, whose check sums `torch.load` does not read:
a flipped bit in a weight would be trained on.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from nas.files import write_atomic


def save(path: Path, state: dict[str, Any]) -> None:
    """Make `state` the newest checkpoint; whatever happens, one that is whole remains.

    Args:
        path: of the newest checkpoint; the one before lies at `previous(path)`.
        state: tensors and plain values.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    if path.exists():
        path.replace(previous(path))
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, on the CPU; None where there is none.

    Raises:
        ValueError: there are checkpoints, and none can be read.
    """
    candidates = [one for one in (path, previous(path)) if one.exists()]
    for candidate in candidates:
        state = _read(candidate)
        if state is not None:
            if candidate != path:
                path.unlink(missing_ok=True)  # damaged: it must not replace the whole one
            return state
    if candidates:
        raise ValueError(
            f"{path}: damaged, or written by another version; "
            f"remove it and {previous(path).name} to train from the start"
        )
    return None


def remove(path: Path) -> None:
    """Delete both checkpoints, those that are there."""
    for candidate in (path, previous(path)):
        candidate.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the checkpoint before the newest one lies."""
    return path.with_name(path.name + ".previous")


def _read(path: Path) -> dict[str, Any] | None:
    """The state in a file; None for a file that is torn, changed, or none of ours."""
    try:
        with ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # readers of archives and of pickles raise anything on a damaged file
        return None
    return state
