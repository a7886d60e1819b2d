"""Balanced accuracy: classes count alike in the metric, in the loss and in its noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.data import Batches, DatasetInfo, SearchData, Split
from nas.models import dyclotnet
from nas.training import Trainer, build, get_recipe
from nas.training.evaluate import accuracy

CPU = torch.device("cpu")


class FirstPixel(nn.Module):
    """Predicts the class that the first pixel says."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot(images[:, 0, 0, 0].round().long(), 3).float()


def splits(counts: tuple[int, ...], seed: int = 0) -> Split:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 3, (len(labels), 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pixels, labels)


INFO = DatasetInfo("synthetic", 8, 1, ("a", "b", "c"), 0, False, (0.0,), (1 / 255,), "0" * 16)


@pytest.mark.parametrize("counts", [(70, 20, 10), (90, 5, 5), (50, 0, 50)])
def test_the_mean_of_the_recalls(counts: tuple[int, ...]) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    split = splits(counts)
    predicted = split.images[:, 0, 0, 0].numpy()
    batches = Batches(split, INFO, 32, CPU)
    expected = balanced_accuracy_score(split.labels.numpy(), predicted) if all(counts) else np.mean(
        [(predicted[split.labels == k] == k).mean() for k in (0, 2)]
    )  # fmt: skip
    assert accuracy(FirstPixel(), batches, balanced=True) == pytest.approx(expected, rel=1e-12)
    plain = accuracy(FirstPixel(), batches)
    assert plain == pytest.approx(accuracy_score(split.labels.numpy(), predicted))


def test_its_variance_is_that_of_fewer_images() -> None:
    recipe = get_recipe("full", metric="balanced-accuracy")
    split, right = splits((70, 20, 10)), 0.8
    rng = np.random.default_rng(0)
    recalls = [rng.binomial(n, right, 200_000) / n for n in (70, 20, 10)]
    variance = np.mean(recalls, 0).var()
    assert right * (1 - right) / split.balanced_size() == pytest.approx(variance, rel=0.02)
    assert recipe.evaluated(split) == round(split.balanced_size())
    assert get_recipe("full").evaluated(split) == 100
    assert splits((50, 50)).balanced_size() == pytest.approx(100)


def test_a_validation_subset_has_an_image_of_each_class() -> None:
    split = splits((10, 10, 10))
    recipe = get_recipe("short-cpu", val_images=1)  # as 2,000 images of 3,000 classes would be
    network = build(dyclotnet(0.25, 2, 4).arch, INFO, 0)
    trainer = Trainer(network, SearchData(INFO, split, split), recipe, seed=0, device=CPU)
    assert trainer.evaluate() in (0.0, 1 / 3, 2 / 3, 1.0)


def learnable(counts: tuple[int, int]) -> Split:
    """Two classes whose brightness overlaps."""
    labels = torch.arange(2).repeat_interleave(torch.tensor(counts))
    generator = torch.Generator().manual_seed(0)
    shade = torch.randn(len(labels), 1, 1, 1, generator=generator) * 30 + 110 + 30 * labels[
        :, None, None, None
    ]  # fmt: skip
    return Split(shade.clamp(0, 255).to(torch.uint8).expand(-1, -1, 8, 8).contiguous(), labels)


def test_the_loss_gives_a_small_class_its_weight() -> None:
    train, info = learnable((990, 110)), replace(INFO, class_names=("large", "small"))
    info = replace(info, mean=(0.45,), std=(0.13,))
    recalls = {}
    for metric in ("accuracy", "balanced-accuracy"):
        recipe = get_recipe("short-cpu", epochs=4, metric=metric)
        network = build(dyclotnet(0.25, 2, 4).arch, info, 0)
        data = SearchData(info, train, train)
        trainer = Trainer(network, data, recipe, seed=0, device=CPU, threads=1)
        for _ in range(recipe.epochs):
            trainer.train_epoch()
        classes = [train.take(np.flatnonzero(train.labels.numpy() == k)) for k in (0, 1)]
        recalls[metric] = [
            accuracy(trainer.evaluated, Batches(each, info, 500, CPU)) for each in classes
        ]
    plain, balanced = recalls["accuracy"], recalls["balanced-accuracy"]
    assert trainer.evaluate() == pytest.approx(np.mean(balanced), abs=1e-3)
    assert balanced[1] > plain[1] + 0.2
    assert np.mean(balanced) > np.mean(plain)
