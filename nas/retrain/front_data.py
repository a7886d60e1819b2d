"""The data set of a front, read as the search read it, with what has changed since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.data import SearchData, load_search_data
from nas.study.differences import images_changed, require_there
from nas.study.front_file import FrontFile


def load_front_data(front: FrontFile, path: Path, data_dir: Path) -> tuple[SearchData, list[str]]:
    """The splits that the networks of a front were trained on, augmented as they were then.

    Args:
        front: contents of the front file.
        path: of the front file, for messages.
        data_dir: where data sets that have a name are looked for.

    Returns:
        The data, and a line for each change that does not matter to the search.

    Raises:
        ValueError: the images are not there, or not those of the search.
    """
    info = front.dataset_info()
    require_there(info, path)
    data = load_search_data(info.name, data_dir, **info.reading())
    if data.info.fingerprint != info.fingerprint:
        raise ValueError(
            f"front file {path}: {images_changed(info, front.splits, data.record)}; "
            "accepted: the files as they were, or a new study: search with --study NAME"
        )
    notes = []
    if change := front.splits.test_change(data.record) if front.splits is not None else "":
        notes.append(f"{change}; what is retrained now is tested on those of now")
    if (data.info.crop, data.info.flip) != (info.crop, info.flip):
        notes.append(
            f"augmented as in the search: {info.augmentation}; a new search "
            f"of {info.name} has {data.info.augmentation}"
        )
        data = replace(data, info=replace(data.info, crop=info.crop, flip=info.flip))
    return data, notes
