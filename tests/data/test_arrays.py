"""Data sets from arrays: what is refused before anything is trained, and what is warned of."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from nas.data import DatasetError
from nas.data.arrays import from_arrays

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (100, 8, 8), dtype=np.uint8)
LABELS = np.arange(100) % 10


def test_labels_from_1_on_make_no_phantom_class() -> None:
    with pytest.raises(DatasetError, match="labels: 10 classes from 1 to 10; accepted: 0 to 9"):
        from_arrays(IMAGES, LABELS + 1)
    names = tuple("zabcdefghij")  # named, so it is meant
    assert from_arrays(IMAGES, LABELS + 1, class_names=names).info.class_names == names


@pytest.mark.parametrize(
    ("labels", "more", "words"),
    [
        (LABELS * 2, {}, "10 classes from 0 to 18; accepted: 0 to 9"),
        (LABELS * 0 + 5, {}, "1 class from 5 to 5; accepted"),
        (LABELS - 1, {}, "from -1 to 8"),
        (LABELS * 0, {}, "1 class; accepted: at least two"),
        (LABELS, {"class_names": ["a"] * 10}, "some are the same"),
        (LABELS, {"class_names": "abcdefghij"}, "some are the same|a name for each"),
        (LABELS, {"class_names": list(range(10))}, "not all are text"),
        (LABELS, {"class_names": ["a", "b"]}, "labels: 0 to 9; accepted: 0 to 1"),
        (LABELS, {"crop": 8}, "crop: 8; accepted: 0 to 7 pixels"),
        (LABELS, {"crop": -1}, "crop: -1"),
        (LABELS, {"crop": 1.5}, "crop: 1.5"),
        (LABELS, {"flip": "yes"}, "flip: 'yes'"),
        (LABELS, {"seed": -1}, "seed: -1"),
        (LABELS, {"seed": None}, "seed: None"),
        (LABELS, {"name": ""}, "name: ''"),
        (LABELS, {"val_fraction": float("nan")}, "val_fraction: nan"),
        (LABELS, {"val_fraction": "0.2"}, "val_fraction: '0.2'"),
        (LABELS, {"val_fraction": 0.999}, "cannot be held out"),
        ([0] * (len(LABELS) - 1) + [1], {"class_names": ("cat", "dog")}, "class 'dog' has 1 image"),
        (LABELS.astype(float), {}, "labels: float64"),
        (LABELS[:50], {}, r"labels: int64 \[50\]"),
    ],
)
def test_what_does_not_fit_is_one_line(labels: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        from_arrays(IMAGES, labels, **more)
    assert "\n" not in str(caught.value)


def test_nothing_is_said_of_good_data() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = from_arrays(IMAGES, LABELS)
    assert data.notes.warnings == ()
    assert data.info.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES * 0, LABELS, "80 of 80 training images are identical"),
        (IMAGES * 0 + 3, LABELS, "the image hardly varies"),
        (np.repeat(IMAGES[:50], 2, 0), np.arange(100) % 2, "copy in another class"),
        (
            np.repeat(IMAGES[:50], 2, 0),
            np.arange(100) // 50,
            "validation images with a copy among the training",
        ),
        (IMAGES, np.array([0] * 92 + [1] * 8), "classes differ in size: 74 .* 6 of '1'"),
        (np.stack([IMAGES, IMAGES * 0, IMAGES], 3), LABELS, "the green channel hardly varies"),
    ],
)
def test_what_looks_wrong_is_warned_of(images: Any, labels: Any, words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        from_arrays(images, labels)
