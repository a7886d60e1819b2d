"""A folder that another machine works on: files are sent there and changes sent back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from nas.files import write_atomic
from nas.training.folder import METRICS


class Changes(NamedTuple):
    """Files that were written, and names of those that were removed."""

    files: Mapping[str, bytes]
    removed: Iterable[str]


def read_folder(folder: Path) -> dict[str, bytes]:
    """Contents of the files of a folder by name, without hidden files such as the lock."""
    return {path.name: path.read_bytes() for path in _files(folder)}


def write_changes(folder: Path, changes: Changes) -> None:
    """Apply changes to a folder; the metrics, which mark it as finished, are written last."""
    for name in sorted(changes.files, key=lambda name: name == METRICS):
        write_atomic(folder / name, changes.files[name])
    for name in changes.removed:
        (folder / name).unlink(missing_ok=True)


class FolderWatch:
    """Finds the changes in a folder since the previous call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = self._stamps()

    def changes(self) -> Changes:
        """Changes since the previous call, or since the construction."""
        before, self._known = self._known, self._stamps()
        new = [name for name, stamp in self._known.items() if before.get(name) != stamp]
        files = {name: (self._folder / name).read_bytes() for name in new}
        return Changes(files, tuple(before.keys() - self._known.keys()))

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Inode and modification time of each file; an atomic write makes a new inode."""
        return {
            path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in _files(self._folder)
        }


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))
