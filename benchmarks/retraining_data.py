"""What full training is measured on: networks of an earlier search, and data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.retraining_ideas import BASE_CROP, BASE_FLIP
from nas.data import DatasetInfo, SearchData, Split, load_search_data, load_test_data
from nas.data.info import mean_std
from nas.retrain.references import equal_cost_twin
from nas.space.arch import Arch
from nas.study.front_file import load_front

FRONT = Path(__file__).parents[1] / "results" / "benchmarks" / "earlier-run" / "front.json"
NETWORKS = {"0.4 M": "a8fa898fecac", "1.0 M": "6d098590f5c0"}  # multiply-adds at 28x28: arch_id
THREE_NETWORKS = NETWORKS | {"1.8 M": "30cc5d162bfd"}


@cache
def networks() -> dict[str, Arch]:
    """The networks of `NETWORKS`."""
    return _of_front(NETWORKS)


@cache
def idea_networks() -> dict[str, Arch]:
    """The DCT networks and their equal-cost pointwise twins."""
    return _with_twins(networks())


@cache
def three_networks() -> dict[str, Arch]:
    """The DCT networks of `THREE_NETWORKS` and their equal-cost pointwise twins."""
    return _with_twins(_of_front(THREE_NETWORKS))


def _of_front(names: Mapping[str, str]) -> dict[str, Arch]:
    by_id = {entry.arch_id: entry.build_arch() for entry in load_front(FRONT).architectures}
    return {name: by_id[arch_id] for name, arch_id in names.items()}


def _with_twins(of: Mapping[str, Arch]) -> dict[str, Arch]:
    info = load_front(FRONT).dataset_info()
    both: dict[str, Arch] = {}
    for name, arch in of.items():
        twin = equal_cost_twin(arch, info)
        assert twin is not None
        both |= {f"DCT, {name}": arch, f"pointwise, {name}": twin}
    return both


@cache
def fashion_mnist(data_dir: Path) -> SearchData:
    """As it once was trained, with crops and flips."""
    data = load_search_data("fashion-mnist", data_dir, download=False)
    return replace(data, info=replace(data.info, crop=BASE_CROP, flip=BASE_FLIP))


def _digits(data_dir: Path) -> tuple[SearchData, Split]:
    data = load_search_data("digits", data_dir)
    return _fewer(data, 200, 50), load_test_data("digits", data_dir)


def _fashion(data_dir: Path) -> tuple[SearchData, Split]:
    data = fashion_mnist(data_dir)
    return _fewer(data, 800, 100), load_test_data("fashion-mnist", data_dir)


def _photographs(data_dir: Path) -> tuple[SearchData, Split]:
    """Crops of scikit-learn's two photographs: a temple or a flower.

    Those to train on are from the left 60 %, those to test on from the right 35 %.
    """
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    sides: tuple[list[Any], list[Any]] = ([], [])
    for label, photograph in enumerate(load_sample_images().images):
        height, width = photograph.shape[:2]
        for crops, (low, high), count in (
            (sides[0], (0, int(0.6 * width) - 64), 150),
            (sides[1], (int(0.65 * width), width - 64), 300),
        ):
            for _ in range(count):
                y, x = rng.integers(0, height - 64), rng.integers(low, high)
                crops.append((photograph[y : y + 64 : 2, x : x + 64 : 2].transpose(2, 0, 1), label))
    train, test = (
        Split(
            torch.from_numpy(np.stack([image for image, _ in crops])),
            torch.tensor([label for _, label in crops]),
        )
        for crops in sides
    )
    mean, std = mean_std(train)
    info = DatasetInfo(
        name="folder:photographs", image_size=32, in_channels=3, class_names=("temple", "flower"),
        crop=4, flip=True, mean=mean, std=std, fingerprint=train.digest(),
    )  # fmt: skip
    return _fewer(SearchData(info, train, train), 240, 60), test


def _fewer(data: SearchData, images: int, val_images: int) -> SearchData:
    """The first images of a random order, and the next ones to validate on."""
    order = np.random.default_rng(1).permutation(len(data.train))
    some, others = order[:images], order[images : images + val_images]
    return replace(data, train=data.train.take(some), val=data.train.take(others))


SMALL = {"digits": _digits, "fashion-mnist": _fashion, "photographs": _photographs}


@cache
def small_data(name: str, data_dir: Path) -> tuple[SearchData, Split]:
    """A data set of `SMALL` and its test set."""
    return SMALL[name](data_dir)
