"""Images that exceed the memory limit: mapped from a file, the same as those in memory."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import Batches, DatasetError, NotHere, SearchData, folder, load_search_data
from nas.data.datasets import load_test_data

CPU = torch.device("cpu")
NOWHERE = Path("unused")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            pixels = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


@pytest.fixture
def in_memory(photos: Path) -> SearchData:
    return load_search_data(f"folder:{photos}", NOWHERE, image_size=8)


@pytest.fixture
def mapped(photos: Path, in_memory: SearchData, monkeypatch: pytest.MonkeyPatch) -> SearchData:
    """The same images under a limit that they exceed."""
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    return load_search_data(f"folder:{photos}", NOWHERE, image_size=8)


def files(photos: Path) -> list[str]:
    return sorted(path.name for path in (photos / ".nas-cache").glob("*.npy"))


def test_mapped_images_are_those_in_memory(
    photos: Path, in_memory: SearchData, mapped: SearchData
) -> None:
    assert in_memory.train.file is None
    assert mapped.train.file is not None
    assert mapped.info == in_memory.info
    assert torch.equal(mapped.train.images, in_memory.train.images)
    assert torch.equal(mapped.val.images, in_memory.val.images)
    test = load_test_data(f"folder:{photos}", NOWHERE, **mapped.info.reading())
    assert test.file is not None
    assert len(files(photos)) == 3


def test_a_second_load_reads_no_image_and_a_changed_one_all(
    photos: Path, mapped: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read, opened = files(photos), folder.read_pixels, []

    def watched(path: Path, *arguments: Any) -> Any:
        opened.append(path)
        return read(path, *arguments)

    monkeypatch.setattr(folder, "read_pixels", watched)
    again = load_search_data(f"folder:{photos}", NOWHERE, image_size=8)
    assert opened == []  # nor one of the test set
    assert again.record == mapped.record
    assert torch.equal(again.train.images, mapped.train.images)
    for name in ("cat", "dog"):  # one in the training split, one in the validation split at least
        for path in (photos / name).iterdir():
            Image.new("RGB", (8, 8), "red").save(path)
            os.utime(path, (1, 1))
    changed = load_search_data(f"folder:{photos}", NOWHERE, image_size=8)
    assert len(opened) == len(changed.train) + len(changed.val) + 8  # those of the test set
    assert changed.record.test_change(mapped.record)
    assert changed.train.images[:, 0].eq(255).all()
    assert len(files(photos)) == len(before)
    assert not set(files(photos)) & set(before)


def test_other_sizes_have_files_of_their_own(photos: Path, mapped: SearchData) -> None:
    before = set(files(photos))
    load_search_data(f"folder:{photos}", NOWHERE, image_size=10)
    assert before < set(files(photos))


def test_a_damaged_image_leaves_no_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    damaged = photos / "cat" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    (photos / "dog" / "0.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="not an image"):
        load_search_data(f"folder:{photos}", NOWHERE, image_size=8, val_fraction=0.1)
    assert not [name for name in files(photos) if "unfinished" not in name]


def test_a_dry_run_writes_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    with pytest.raises(NotHere, match=r"would be written to .*\.nas-cache") as caught:
        load_search_data(f"folder:{photos}", NOWHERE, image_size=8, download=False)
    assert not (photos / ".nas-cache").exists()
    known = caught.value.data
    assert (len(known.train), len(known.val), known.notes.test_images) == (26, 6, 8)
    assert known.info.class_names == ("cat", "dog")


def test_a_folder_that_cannot_keep_them(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    usage = shutil.disk_usage(photos)._replace(free=10)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(DatasetError, match=r"0\.0 GiB are free; accepted: a smaller"):
            load_search_data(f"folder:{photos}", NOWHERE, image_size=8)
    shutil.rmtree(photos / ".nas-cache")
    (photos / ".nas-cache").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot be written"):
        load_search_data(f"folder:{photos}", NOWHERE, image_size=8)


def test_a_worker_is_given_the_path(mapped: SearchData, in_memory: SearchData) -> None:
    pickled = pickle.dumps(mapped)
    assert len(pickled) < len(pickle.dumps(in_memory)) - in_memory.train.images.numel()
    there = pickle.loads(pickled)
    assert torch.equal(there.train.images, in_memory.train.images)
    assert torch.equal(there.val.labels, in_memory.val.labels)
    assert there.train.file is not None
    there.train.file.unlink()
    with pytest.raises(DatasetError, match="accepted: data in a folder that every machine has"):
        pickle.loads(pickled)


def test_grey_images_are_mapped_as_one_channel(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in photos.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    plain = load_search_data(f"folder:{photos}", NOWHERE, image_size=8)
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    mapped = load_search_data(f"folder:{photos}", NOWHERE, image_size=8)
    assert mapped.info == plain.info
    assert mapped.info.in_channels == 1
    there = pickle.loads(pickle.dumps(mapped))
    assert torch.equal(there.train.images, plain.train.images)


@pytest.mark.parametrize("seed", [None, 0])
def test_batches_of_mapped_images(
    mapped: SearchData, in_memory: SearchData, seed: int | None
) -> None:
    def draw(data: SearchData) -> list[tuple[torch.Tensor, torch.Tensor]]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return list(Batches(data.train, data.info, 8, CPU, generator=generator, cutout=0.25))

    for (images, labels), (expected, same) in zip(draw(mapped), draw(in_memory), strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, same)
        assert images.is_contiguous(memory_format=torch.channels_last)
