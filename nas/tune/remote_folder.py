"""A folder whose work is done on another machine: files go there, and changes come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from nas.files import write_atomic
from nas.training.full import METRICS


class Changes(NamedTuple):
    """Files that were written, and names of those that were removed."""

    files: Mapping[str, bytes]
    removed: Iterable[str]


def read_folder(folder: Path) -> dict[str, bytes]:
    """Contents of the files of a folder by name; hidden ones, as the lock, are left out."""
    return {path.name: path.read_bytes() for path in _files(folder)}


def write_changes(folder: Path, changes: Changes) -> None:
    """Make a folder what another one has become; the metrics, which say it is done, come last."""
    for name in sorted(changes.files, key=lambda name: name == METRICS):
        write_atomic(folder / name, changes.files[name])
    for name in changes.removed:
        (folder / name).unlink(missing_ok=True)


class FolderWatch:
    """Tells what has changed in a folder since it was asked last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = self._stamps()

    def changes(self) -> Changes:
        """Since the call before, or since this object was made."""
        before, self._known = self._known, self._stamps()
        new = [name for name, stamp in self._known.items() if before.get(name) != stamp]
        files = {name: (self._folder / name).read_bytes() for name in new}
        return Changes(files, tuple(before.keys() - self._known.keys()))

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Inode and time of change of each file; whole writes make a new inode."""
        return {
            path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in _files(self._folder)
        }


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))
