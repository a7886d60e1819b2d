"""Batches against the same augmentation done image by image."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from nas.data import Batches, DatasetInfo, Split

CPU = torch.device("cpu")


def make_split(images: int, channels: int = 3, size: int = 6) -> Split:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(
        1, 256, (images, channels, size, size), generator=generator, dtype=torch.uint8
    )
    return Split(pixels, torch.arange(images))


def make_info(channels: int = 3, size: int = 6, crop: int = 2, flip: bool = True) -> DatasetInfo:
    return DatasetInfo(
        name="digits",
        image_size=size,
        in_channels=channels,
        class_names=("a", "b"),
        crop=crop,
        flip=flip,
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.2, 0.3, 0.4)[:channels],
        fingerprint="0" * 16,
    )


def normalised(images: Tensor, info: DatasetInfo) -> Tensor:
    mean = torch.tensor(info.mean)[:, None, None]
    std = torch.tensor(info.std)[:, None, None]
    return (images.float() / 255 - mean) / std


def windows(image: Tensor, crop: int, flip: bool) -> list[Tensor]:
    """Every crop of the image in its black margin, and its mirror image."""
    size = image.shape[-1]
    padded = torch.nn.functional.pad(image, [crop] * 4)
    found = []
    for top in range(2 * crop + 1):
        for left in range(2 * crop + 1):
            window = padded[:, top : top + size, left : left + size]
            found += [window, window.flip(2)] if flip else [window]
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_evaluation_gives_every_image_once_in_order(channels: int) -> None:
    split, info = make_split(10, channels), make_info(channels)
    batches = Batches(split, info, 4, CPU)
    found = list(batches)
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    assert len(batches) == 3
    torch.testing.assert_close(torch.cat([x for x, _ in found]), normalised(split.images, info))
    assert torch.equal(torch.cat([y for _, y in found]), split.labels)


@pytest.mark.parametrize("crop", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_training_images_are_crops_and_flips_of_their_own_image(crop: int, flip: bool) -> None:
    split, info = make_split(40), make_info(crop=crop, flip=flip)
    batches = Batches(split, info, 8, CPU, generator=torch.Generator().manual_seed(0))
    seen = set()
    for images, labels in batches:
        for image, label in zip(images, labels.tolist(), strict=True):
            candidates = windows(split.images[label], crop, flip)
            matches = [
                index
                for index, window in enumerate(candidates)
                if torch.allclose(image, normalised(window, info), atol=1e-5)
            ]
            assert len(matches) == 1
            seen.add(matches[0])
    assert len(seen) > len(candidates) // 4


def test_training_drops_the_last_partial_batch_and_draws_anew_each_epoch() -> None:
    split, info = make_split(10), make_info()
    batches = Batches(split, info, 4, CPU, generator=torch.Generator().manual_seed(0))
    epochs = [torch.cat([labels for _, labels in batches]) for _ in range(2)]
    assert len(batches) == 2
    assert all(len(set(labels.tolist())) == len(labels) == 8 for labels in epochs)
    assert not torch.equal(*epochs)


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = Batches(make_split(3), make_info(), 64, CPU, generator=generator)
    assert [len(labels) for _, labels in batches] == [3]


def test_the_generator_alone_decides() -> None:
    split, info = make_split(20), make_info()

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        torch.rand(seed + 1)  # the global generator plays no part
        return torch.cat([x for x, _ in Batches(split, info, 5, CPU, generator=generator)])

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_without_augmentation_only_the_order_changes() -> None:
    split, info = make_split(20), make_info()
    generator = torch.Generator().manual_seed(0)
    for images, labels in Batches(split, info, 5, CPU, generator=generator, augment=False):
        torch.testing.assert_close(images, normalised(split.images[labels], info))


def test_cutout_masks_one_square_around_any_pixel() -> None:
    split, side = make_split(300), 3
    info, generator = make_info(crop=0, flip=False), torch.Generator().manual_seed(0)
    batches = Batches(split, info, 100, CPU, generator=generator, cutout=0.5)
    plain = normalised(split.images, info)
    seen = set()
    for images, labels in batches:
        for image, own in zip(images, plain[labels], strict=True):
            masked = (image == 0).all(0)
            assert torch.allclose(image[:, ~masked], own[:, ~masked], atol=1e-5)
            rows, columns = masked.any(1).nonzero()[:, 0], masked.any(0).nonzero()[:, 0]
            assert masked.sum() == len(rows) * len(columns)
            assert 1 < max(len(rows), len(columns)) <= side
            seen.add((int(rows[0]), len(rows), int(columns[0]), len(columns)))
    places = {(max(0, c - 1), min(6, c + 2) - max(0, c - 1)) for c in range(6)}
    assert seen == {(*row, *column) for row in places for column in places}


def test_evaluation_is_not_masked() -> None:
    split, info = make_split(10), make_info()
    (found, _), (plain, _) = (
        next(iter(Batches(split, info, 10, CPU, cutout=cutout))) for cutout in (0.5, 0.0)
    )
    assert torch.equal(found, plain)


def test_images_are_channels_last() -> None:
    split, info = make_split(8), make_info()
    generator = torch.Generator().manual_seed(0)
    for batches in (
        Batches(split, info, 4, CPU),
        Batches(split, info, 4, CPU, generator=generator),
    ):
        images, _ = next(iter(batches))
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_normalised_training_split_has_mean_0_and_deviation_1() -> None:
    from nas.data.info import mean_std

    split = make_split(200)
    mean, std = mean_std(split)
    info = dataclasses.replace(make_info(), mean=mean, std=std)
    images = torch.cat([x for x, _ in Batches(split, info, 64, CPU)]).double()
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        images.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5, rtol=0
    )
