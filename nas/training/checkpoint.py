"""Checkpoints that survive a kill at any moment, and torn files.

A file is a magic number, the SHA-256 of what follows, and `torch.save`'s bytes. The
checkpoint before the newest one is kept beside it.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from nas.files import write_atomic

MAGIC = b"NASCKPT1"
_HEADER = len(MAGIC) + hashlib.sha256().digest_size


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
    payload = buffer.getvalue()
    # A torn newest file must not take the place of the whole one before it.
    if (newest := _payload(path)) is not None:
        write_atomic(previous(path), _pack(newest))
    write_atomic(path, _pack(payload))


def load(path: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, on the CPU; None where there is none."""
    for candidate in (path, previous(path)):
        payload = _payload(candidate)
        if payload is not None:
            state: dict[str, Any] = torch.load(
                io.BytesIO(payload), map_location="cpu", weights_only=True
            )
            return state
    return None


def remove(path: Path) -> None:
    """Delete both checkpoints, those that are there."""
    for candidate in (path, previous(path)):
        candidate.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the checkpoint before the newest one lies."""
    return path.with_name(path.name + ".previous")


def _pack(payload: bytes) -> bytes:
    return MAGIC + hashlib.sha256(payload).digest() + payload


def _payload(path: Path) -> bytes | None:
    """What `torch.save` wrote, or None if the file is missing, torn or another's."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    payload = content[_HEADER:]
    return payload if content[:_HEADER] == _pack(payload)[:_HEADER] else None
