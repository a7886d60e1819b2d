"""Properties of stratified splits, subsets and resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data.splits import DatasetError, Split, resize, stratified, thin_out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("counts", "held_out"), [((50, 50), 10), ((90, 30, 60), 60), ((7, 5), 4)])
def test_split_is_a_partition_in_proportion(
    counts: tuple[int, ...], held_out: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    kept, out = stratified(labels, held_out, seed)
    assert sorted([*kept, *out]) == list(range(len(labels)))
    assert len(out) == held_out
    for label, count in enumerate(counts):
        expected = count * held_out / len(labels)
        assert abs((labels[out] == label).sum() - expected) < 1


def test_split_depends_on_the_seed_alone() -> None:
    labels = np.repeat(np.arange(4), 25)
    first, second, other = (stratified(labels, 20, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("labels", "held_out", "words"),
    [
        ([0, 0, 1], 1, "class 1 has 1 image"),
        ([0, 0, 1, 1], 1, "cannot be held out"),
        ([0, 0, 1, 1], 3, "cannot be held out"),
    ],
)
def test_too_few_images(labels: list[int], held_out: int, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        stratified(np.array(labels), held_out, 0)


def test_subset_is_stratified_and_seeded() -> None:
    labels = torch.arange(10).repeat_interleave(30)
    split = Split(torch.arange(300).to(torch.uint8)[:, None, None, None], labels)
    subset = thin_out(split, 50, seed=0)
    assert torch.bincount(subset.labels).tolist() == [5] * 10
    assert torch.equal(subset.images, thin_out(split, 50, seed=0).images)
    assert not torch.equal(subset.images, thin_out(split, 50, seed=1).images)
    assert thin_out(split, 300, seed=0) is split


def test_subset_of_all_but_a_few() -> None:
    labels = torch.arange(10).repeat_interleave(2)
    split = Split(torch.arange(20).to(torch.uint8)[:, None, None, None], labels)
    subset = thin_out(split, 15, seed=0)
    assert len(subset.images.unique()) == 15
    assert torch.equal(subset.labels, subset.images.flatten() // 2)
    assert torch.equal(subset.images, thin_out(split, 15, seed=0).images)
    with pytest.raises(DatasetError, match="8 of 18"):
        thin_out(split.take(np.arange(18)), 8, seed=0)


def test_subset_of_classes_of_one_image() -> None:
    labels = torch.cat([torch.zeros(90, dtype=torch.int64), torch.arange(1, 11)])
    split = Split(torch.arange(100).to(torch.uint8)[:, None, None, None], labels)
    subset = thin_out(split, 50, seed=0)
    assert len(subset.images.unique()) == 50
    assert torch.equal(subset.images, thin_out(split, 50, seed=0).images)


def test_shrinking_averages_areas() -> None:
    images = torch.randint(0, 256, (5, 3, 28, 28), dtype=torch.uint8)
    small = resize(Split(images, torch.zeros(5, dtype=torch.int64)), 14).images
    expected = images.float().reshape(5, 3, 14, 2, 14, 2).mean((3, 5)).round()
    assert torch.equal(small.float(), expected)


@pytest.mark.parametrize("size", [5, 8, 13])
def test_resizing_keeps_constant_images(size: int) -> None:
    images = torch.full((2, 1, 8, 8), 77, dtype=torch.uint8)
    resized = resize(Split(images, torch.zeros(2, dtype=torch.int64)), size).images
    assert resized.shape == (2, 1, size, size)
    assert (resized == 77).all()
