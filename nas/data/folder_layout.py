"""Folders of images: which file is of which class and split, found without opening an image.

Two layouts are known: PATH/CLASS/... and PATH/SPLIT/CLASS/..., where SPLIT is one of the usual
names of training, validation and test sets. What could be meant in two ways is refused.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.image_file import heif_note, is_image, suffixes
from nas.data.splits import DatasetError, stratified
from nas.format import format_number

SPLITS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
    "test": ("test", "testing", "tst", "holdout"),
}
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
# As in train_set, Test-Images or val2017
_SPLIT_NAME = re.compile(
    rf"({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})"
    r"[\W_]*(?:(?:data)?set|split|data|images?|imgs?|files)?[\W_\d]*"
)
MIN_CLASSES, MAX_CLASSES = 2, 10_000
MIN_PER_CLASS = 5  # images: enough for training, validation and test
TEST_FRACTION = 0.2  # of all images, where there is no folder of test images
JUNK = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"))


@dataclass(frozen=True)
class Files:
    """The image files of a split, by class and path, with their labels."""

    paths: Sequence[Path]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: NDArray[np.int64]) -> Files:
        """The files at `indices`, in that order."""
        return Files([self.paths[i] for i in indices], self.labels[indices])


@dataclass(frozen=True)
class Layout:
    """What a folder of images holds."""

    path: Path
    class_names: tuple[str, ...]
    train: Files
    val: Files | None  # None: to be carved out of `train`
    test: Files
    origin: Mapping[str, str]  # where the images of train, val and test are from, in words
    ignored: Mapping[str, int]  # files and folders that are left out, by suffix or reason
    warnings: tuple[str, ...]


def find_layout(path: Path) -> Layout:
    """Find classes, splits and files.

    Raises:
        DatasetError: one line that names the folder, what is wrong and what is accepted.
    """
    if not path.is_dir():
        what = "is a file" if path.is_file() else "no such folder"
        raise DatasetError(f"folder {path}: {what}; accepted: {_accepted(path)}")
    scan = _Scan(path)
    splits = _split_folders(path, scan)
    if splits is None:
        class_names, whole = scan.classes(path, MIN_PER_CLASS)
        train, test = _carve_test(whole, class_names)
        origin = {"train": "the folder", "test": "20 % of the folder, held out"}
        return Layout(path, class_names, train, None, test, origin, scan.counts(), scan.warned())
    own_val = "val" in splits and "test" in splits
    class_names, train = scan.classes(splits["train"], 1 if own_val else MIN_PER_CLASS)
    others: dict[str, Files] = {}
    for split in splits.keys() - {"train"}:
        names, others[split] = scan.classes(splits[split], 1)
        if names != class_names:
            odd = min(set(names) ^ set(class_names))
            raise DatasetError(
                f"folder {path}: class {odd!r} is in only one of {splits['train'].name} and "
                f"{splits[split].name}; accepted: the same classes in both"
            )
    origin = {split: f"{folder.name}/" for split, folder in splits.items()}
    val = others.get("val") if own_val else None
    if "test" in others:
        test = others["test"]
    elif "val" in others:
        test = others["val"]
        origin["test"] = f"{origin.pop('val')}, as there is no folder of test images"
    else:
        train, test = _carve_test(train, class_names)
        origin["test"] = f"20 % of {origin['train']}, held out"
    return Layout(path, class_names, train, val, test, origin, scan.counts(), scan.warned())


def split_of(name: str) -> str | None:
    """The split (train, val or test) that a folder's name stands for, None for another name."""
    match = _SPLIT_NAME.fullmatch(name.casefold())
    return None if match is None else _SPLIT_OF[match[1]]


def class_name(folder: Path) -> str:
    """A folder's name as text, the same in every locale.

    Bytes that are not UTF-8 and control characters are written as escapes.
    """
    text = os.fsencode(folder.name).decode("utf-8", "backslashreplace")
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c
        for c in text
    )


@dataclass
class _Scan:
    """Walks folders; counts what is left out and notes what looks wrong."""

    root: Path
    ignored: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    inside: dict[Path, list[Path]] = field(default_factory=dict)  # the folders in class folders

    def counts(self) -> dict[str, int]:
        return dict(self.ignored.most_common())

    def warned(self) -> tuple[str, ...]:
        return tuple(self.notes)

    def classes(self, path: Path, min_per_class: int) -> tuple[tuple[str, ...], Files]:
        """Class names, and the files of all classes."""
        folders, files = self.entries(path)
        if not MIN_CLASSES <= len(folders) <= MAX_CLASSES:
            raise DatasetError(self._no_classes(path, folders, files))
        self._leave_out(files, "beside the class folders")
        names = tuple(map(class_name, folders))
        self._check_names(path, names)
        inside = [self._class_files(folder) for folder in folders]
        for name, images in zip(names, inside, strict=True):
            if len(images) < min_per_class:
                left_out = f" ({describe_counts(self.ignored)} ignored)" if self.ignored else ""
                if note := heif_note(self.ignored):
                    left_out += f"; {note}"
                raise DatasetError(
                    f"folder {path}: class {name!r} has {format_number(len(images), 'image')}; "
                    f"accepted: at least {min_per_class} in each class folder{left_out}"
                )
        self._check_nesting(folders)
        labels = np.repeat(np.arange(len(folders)), [len(images) for images in inside])
        return names, Files([image for images in inside for image in images], labels)

    def entries(self, path: Path) -> tuple[list[Path], list[Path]]:
        """Folders, sorted, and files in a folder; what is hidden or neither is counted."""
        folders, files = [], []
        try:
            above = {_identity(one) for start in (self.root, path) for one in _upwards(start)}
            with os.scandir(path) as entries:
                listed = [(path / entry.name, _leads_to(entry)) for entry in entries]
        except OSError as error:
            raise DatasetError(f"folder {path}: cannot be read ({error.strerror})") from None
        for entry, what in listed:
            if entry.name.startswith(".") or entry.name.casefold() in JUNK:
                self.ignored["hidden"] += 1
            elif what == "file":
                files.append(entry)
            elif what != "folder":
                self.ignored["broken links and other things that are no files"] += 1
            elif entry.is_symlink() and _identity(entry) in above:
                self.ignored["circular links"] += 1
            else:
                folders.append(entry)
        return sorted(folders), files

    def images(self, folder: Path) -> Iterator[Path]:
        """All images below a folder; links are followed, each folder is visited once."""
        visited: set[tuple[int, int]] = set()
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            if _identity(here) in visited:
                self.ignored["links to a folder that counts already"] += 1
                continue
            visited.add(_identity(here))
            folders, files = self.entries(here)
            waiting += folders
            for file in files:
                if _holds_image(file):
                    yield file
                else:
                    self.ignored[file.suffix.lower() or "without a suffix"] += 1

    def _class_files(self, folder: Path) -> list[Path]:
        for inner in self._folders(folder):
            if split_of(inner.name) is not None and any(_Scan(self.root).images(inner)):
                raise DatasetError(
                    f"folder {folder}: holds {class_name(inner)!r}, a split's name, in a class; "
                    f"accepted: {_accepted(self.root)}"
                )
        return sorted(self.images(folder))

    def _folders(self, folder: Path) -> list[Path]:
        if folder not in self.inside:
            self.inside[folder] = _Scan(self.root).entries(folder)[0]
        return self.inside[folder]

    def _leave_out(self, files: Sequence[Path], where: str) -> None:
        for file in files:
            self.ignored[f"{file.suffix.lower() or 'without a suffix'} {where}"] += 1

    def _check_names(self, path: Path, names: tuple[str, ...]) -> None:
        alike = defaultdict(list)
        for name in names:
            alike[unicodedata.normalize("NFKC", name).casefold()].append(name)
        for group in alike.values():
            if len(group) > len(set(group)):
                raise DatasetError(
                    f"folder {path}: two classes are called {group[0]!r}; accepted: other names"
                )
            if len(group) > 1:
                self._note(f"classes {_list(group)} have almost the same name and count apart")

    def _check_nesting(self, folders: Sequence[Path]) -> None:
        """Note class folders that hold folders named like classes."""
        names = {folder.name for folder in folders}
        inside = {folder: {inner.name for inner in self._folders(folder)} for folder in folders}
        for folder, inner in inside.items():
            if shared := inner & names:
                self._note(
                    f"class folder {class_name(folder)!r} holds folders named like classes "
                    f"({_list(shared)}); their images count as {class_name(folder)!r}"
                )
        shared = set.intersection(*inside.values())
        if len(shared) > 1:
            self._note(
                f"every class folder holds the same folders ({_list(shared)}); the classes are the "
                f"folders above them ({_list(map(class_name, folders))})"
            )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _no_classes(self, path: Path, folders: Sequence[Path], files: Sequence[Path]) -> str:
        images = sum(map(_holds_image, files))
        beside = f" and {format_number(images, 'image')} beside" if images else ""
        hint = ""
        if len(folders) == 1 and len(self._folders(folders[0])) >= MIN_CLASSES:
            hint = f"; the folders in it look like classes: folder:{folders[0]}"
        elif path != self.root and split_of(path.name) != "train":
            hint = f"; without {path.name!r} a part of the training images is held out instead"
        elif split_of(path.name) is not None:
            hint = f"; a class called {path.name!r} goes into {self.root / 'train' / path.name}"
        return (
            f"folder {path}: {format_number(len(folders), 'class folder')}{beside}; "
            f"accepted: {MIN_CLASSES} to {MAX_CLASSES}, one a class, with the images inside: "
            f"{_accepted(self.root)}{hint}"
        )


def _split_folders(path: Path, scan: _Scan) -> dict[str, Path] | None:
    """The folder of each split, or None where the folders are those of classes."""
    folders, files = scan.entries(path)
    splits: dict[str, Path] = {}
    others: list[Path] = []
    names = {folder: split_of(folder.name) for folder in folders}
    if not any(names.values()):
        names = {folder: _loosely(folder) for folder in folders}
        if "train" not in names.values() or len(set(names.values()) - {None}) < 2:
            scan.ignored.clear()  # `classes` counts them
            return None
    for folder, split in names.items():
        if split is None:
            others.append(folder)
        elif split in splits:
            raise DatasetError(
                f"folder {path}: {splits[split].name!r} and {folder.name!r} are both names of the "
                f"{split} split; accepted: {_accepted(path)}"
            )
        else:
            splits[split] = folder
    used = [folder for folder in others if any(_Scan(path).images(folder))]
    if used or "train" not in splits:
        wrong = min(folder.name for split, folder in splits.items() if split != "train" or used)
        why = (
            f"stands beside the folders {_list(map(class_name, used))}"
            if used
            else "has no training images beside it"
        )
        raise DatasetError(
            f"folder {path}: {wrong!r} is a split's name and {why}; accepted: {_accepted(path)}; "
            f"a class called {wrong!r} goes into {path / 'train' / wrong}"
        )
    scan.ignored["folders without images"] += len(others)
    scan.ignored += Counter()  # drops a count of 0
    scan._leave_out(files, "beside the split folders")
    return splits


def _loosely(folder: Path) -> str | None:
    """The split in a name such as seg_train; it counts where another folder has another one."""
    words = re.split(r"[\W_]+", folder.name.casefold())
    splits = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    return splits.pop() if len(splits) == 1 else None


def _carve_test(whole: Files, class_names: tuple[str, ...]) -> tuple[Files, Files]:
    """A stratified fifth of the files is the test set, the same for the same names."""
    held_out = max(len(class_names), round(len(whole) * TEST_FRACTION))
    kept, test = stratified(whole.labels, held_out, seed=0)
    return whole.take(kept), whole.take(test)


def _holds_image(file: Path) -> bool:
    return file.suffix.lower() in suffixes() or is_image(file)


def _leads_to(entry: os.DirEntry[str]) -> str:
    """What an entry is, or a link leads to: a file, a folder, or something else or nothing."""
    try:
        return "file" if entry.is_file() else "folder" if entry.is_dir() else ""
    except OSError:
        return ""


def _upwards(folder: Path) -> tuple[Path, ...]:
    whole = folder.resolve()
    return (whole, *whole.parents)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _accepted(path: Path) -> str:
    return (
        f"{path}/CLASS/*, or {path}/train/CLASS/* with {path}/val/CLASS/* and {path}/test/CLASS/*"
    )


def describe_counts(counts: Mapping[str, int]) -> str:
    """Numbers of things, as in "75 .avif, 2 hidden"; the first few."""
    first = [f"{number:,} {what}" for what, number in list(counts.items())[:5]]
    more = len(counts) - len(first)
    return ", ".join(first) + (f" and {format_number(more, 'more kind')}" if more else "")


def _list(names: Iterator[str] | Sequence[str] | set[str]) -> str:
    """The first few of some names."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(map(repr, ordered[:3])) + more
