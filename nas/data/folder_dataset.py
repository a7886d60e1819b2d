"""A folder of images as a data set: its splits, its channels, and what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nas.data.checks import warn_of_files, warn_of_pixels
from nas.data.folder import (
    DEFAULT_IMAGE_SIZE,
    NotKept,
    Unreadable,
    all_grey,
    check_files,
    first_channel,
    read_files,
)
from nas.data.folder_layout import Files, Layout, find_layout
from nas.data.image_file import WHITE, heif_note
from nas.data.info import DataNotes, SearchData, describe
from nas.data.outline import NotHere, outline
from nas.data.splits import stratified

FOLDER_VAL_FRACTION = 0.2  # of the training set


def load_folder(
    name: str,
    path: Path,
    image_size: int | None,
    channels: int | None,
    background: str | None,
    val_fraction: float | None,
    seed: int,
    *,
    keep: bool,
) -> SearchData:
    """Training and validation split of a folder; its test images are decoded and let go.

    Args:
        name: of the data set, folder:PATH.
        path: of the folder.
        image_size: side that the images are resized to; None: `DEFAULT_IMAGE_SIZE`.
        channels: 1 or 3; None: 1 where all images are grey.
        background: colour behind transparent pixels, as in `DatasetInfo`; None: white.
        val_fraction: of the training set; None: the folder's own validation split, or else
            `FOLDER_VAL_FRACTION`.
        seed: of the stratified split into training and validation.
        keep: whether what does not fit into memory may be written beside the images.

    Raises:
        NotHere: `keep` is False, and the images would have to be written.
        DatasetError: one line that says what is missing, damaged or too small.
    """
    layout = find_layout(path)
    size = image_size or DEFAULT_IMAGE_SIZE
    train_files, val_files, origin = _divide(layout, val_fraction, seed)
    notes = DataNotes(
        test_images=len(layout.test),
        origin=origin,
        ignored=layout.ignored,
        warnings=layout.warnings,
    )
    how = (size, channels or 3, background, layout.path)
    unreadable: list[str] = []
    try:
        with _collected(unreadable):
            train, train_counts = read_files(train_files, *how, "train", keep=keep)
        with _collected(unreadable):
            val, val_counts = read_files(val_files, *how, "val", keep=keep)
    except NotKept as error:
        shape, images = (channels or 3, size, size), (len(train_files), len(val_files))
        known = outline(name, images, shape, layout.class_names, notes)
        raise NotHere(str(error), known) from None
    with _collected(unreadable):
        once = not unreadable and train.file is not None
        test_fingerprint = check_files(layout.test, *how, once=once)
    if unreadable:
        raise Unreadable(unreadable)
    if channels is None and all_grey(train) and all_grey(val):
        train, val = first_channel(train), first_channel(val)
    if background is None and (train_counts.transparent or val_counts.transparent):
        background = WHITE
    # Letters and digits are common in such folders, and a flip would spoil their labels.
    info = describe(name, layout.class_names, train, val, crop=size // 8, flip=False)
    info = replace(info, background=background)
    warnings = (
        *layout.warnings,
        *filter(None, [heif_note(layout.ignored)]),
        *warn_of_files(
            [*train_files.paths, *val_files.paths], layout.test.paths, train_counts, size
        ),
        *warn_of_pixels(info, train, val),
    )
    notes = replace(notes, warnings=warnings, test_fingerprint=test_fingerprint)
    return SearchData(info, train, val, notes)


def _divide(
    layout: Layout, val_fraction: float | None, seed: int
) -> tuple[Files, Files, dict[str, str]]:
    """The files to train and to validate on, and where the images of each split are from."""
    origin = dict(layout.origin)
    if layout.val is not None and val_fraction is None:
        return layout.train, layout.val, origin
    share = val_fraction or FOLDER_VAL_FRACTION
    held_out = max(len(layout.class_names), round(len(layout.train) * share))
    kept, out = stratified(layout.train.labels, held_out, seed)
    # Where the test set is held out too, it is taken first.
    rest = "the rest of " if origin["test"].endswith("held out") else ""
    origin["val"] = f"{share * 100:g} % of {rest}{origin['train']}, held out"
    return layout.train.take(kept), layout.train.take(out), origin


@contextmanager
def _collected(errors: list[str]) -> Iterator[None]:
    """Add a line for each file that cannot be read, so that all splits are looked at."""
    try:
        yield
    except Unreadable as error:
        errors += error.errors
