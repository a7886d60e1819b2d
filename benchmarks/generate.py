"""Synthetic tables of training results, seeded, with interactions between choices.

The accuracy of an architecture is a saturating function of its quality, and its
quality is a weighted sum of standardised parts: capacity (log multiply-adds), an
effect of every choice, an effect of every pair of choices (neighbours count more),
an effect of some triples, and an effect of the single architecture. On
`nas-bench-macro` multiply-adds have a rank correlation of 0.75 with accuracy; the
shares below give 0.6 to 0.8.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.tables import Table, from_frame

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """A kind of generated table: its choices, and the shares of the variance of quality."""

    categorical: int  # number of categorical choices
    operations: int  # values of a categorical choice
    ordinal: int  # number of ordinal choices
    widths: int  # values of an ordinal choice
    capacity: float = 0.45  # share of the variance of quality, as are the next four
    effects: float = 0.25
    pairs: float = 0.20
    triples: float = 0.09
    own: float = 0.01
    seeds: int = 3
    spread: float = 0.15  # per cent, standard deviation between training seeds


KINDS = {
    "categorical": Kind(categorical=6, operations=4, ordinal=0, widths=0),
    "ordinal": Kind(categorical=0, operations=0, ordinal=7, widths=4),
    "mixed": Kind(categorical=3, operations=4, ordinal=3, widths=5),
}


def generate(kind: str, seed: int = 0) -> Table:
    """The table of a kind and seed; equal arguments give equal tables.

    Raises:
        ValueError: the kind is not known.
    """
    if kind not in KINDS:
        raise ValueError(f"generated table {kind!r} is not known; accepted: {', '.join(KINDS)}")
    return build(KINDS[kind], seed, f"generated-{kind}-{seed}")


def build(kind: Kind, seed: int, name: str) -> Table:
    """A complete table of a kind."""
    rng = np.random.default_rng(seed)
    sizes = [kind.operations] * kind.categorical + [kind.widths] * kind.ordinal
    numeric = [False] * kind.categorical + [True] * kind.ordinal
    order = rng.permutation(len(sizes))  # in random order
    sizes, numeric = [sizes[i] for i in order], [numeric[i] for i in order]
    codes = np.array(list(itertools.product(*(range(size) for size in sizes))))
    macs, params = _costs(codes, sizes, numeric, rng)
    quality = (
        np.sqrt(kind.capacity) * _standard(np.log(macs))
        + np.sqrt(kind.effects) * _standard(_effects(codes, sizes, numeric, rng))
        + np.sqrt(kind.pairs) * _standard(_interactions(codes, sizes, numeric, 2, rng))
        + np.sqrt(kind.triples) * _standard(_interactions(codes, sizes, numeric, 3, rng))
        + np.sqrt(kind.own) * rng.standard_normal(len(codes))
    )
    error = 5.0 + 12.0 * np.exp(
        -0.45 * _standard(quality)
    )  # per cent; spreads out where quality is low
    noise = rng.standard_normal((len(codes), kind.seeds)) * (kind.spread * error[:, None] / 15.0)
    accuracy = np.clip(100.0 - error[:, None] + noise, 0.0, 100.0)
    frame = pd.DataFrame()
    for index, is_number in enumerate(numeric):
        column = codes[:, index]
        frame[f"x{index + 1}"] = 8 * (column + 1) if is_number else [f"op{v}" for v in column]
    for index in range(kind.seeds):
        frame[f"accuracy_{index + 1}"] = accuracy[:, index]
    frame["macs"], frame["params"] = macs.astype(np.int64), params.astype(np.int64)
    return from_frame(frame, name)


def _costs(
    codes: NDArray[np.int64], sizes: list[int], numeric: list[bool], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Multiply-adds and parameters of a chain of layers that widens while it shrinks.

    An ordinal choice is the width of its layer, which costs width times the width before it; a
    categorical one is an operation whose cost is from near zero to 8 times the least.
    """
    macs, params = np.full(len(codes), 2e6), np.full(len(codes), 2e4)
    before = np.full(len(codes), 16.0)
    for index, (size, is_number) in enumerate(zip(sizes, numeric, strict=True)):
        area = 1024.0 / 2 ** (2 * (3 * index // len(sizes)))  # three resolutions
        if is_number:
            width = 8.0 * (codes[:, index] + 1) * 2 ** (3 * index // len(sizes))
            weights = 3.0 * before * width
            before = width
        else:
            factors = np.sort(np.exp(rng.uniform(0.0, np.log(8.0), size))) - rng.uniform(0.5, 1.0)
            channels = 16.0 * 2 ** (3 * index // len(sizes))
            weights = 6.0 * channels**2 * rng.permutation(factors)[codes[:, index]]
        macs += area * weights
        params += weights
    return macs, params


def _curve(size: int, is_number: bool, rng: np.random.Generator) -> Array:
    """An effect for each value: independent if categorical, a few cosines if ordinal."""
    if not is_number:
        effects: Array = rng.standard_normal(size)
        return effects
    position = (np.arange(size) + 0.5) / size
    waves = [rng.standard_normal() / (k * k) * np.cos(np.pi * k * position) for k in (1, 2, 3)]
    total: Array = np.sum(waves, axis=0)
    return total


def _effects(
    codes: NDArray[np.int64], sizes: list[int], numeric: list[bool], rng: np.random.Generator
) -> Array:
    total = np.zeros(len(codes))
    for index, (size, is_number) in enumerate(zip(sizes, numeric, strict=True)):
        curve = _curve(size, is_number, rng)
        total += rng.gamma(2.0) * _standard(curve)[codes[:, index]]
    return total


def _interactions(
    codes: NDArray[np.int64],
    sizes: list[int],
    numeric: list[bool],
    of: int,
    rng: np.random.Generator,
) -> Array:
    """Effects of groups of `of` choices: sums of two products of curves each."""
    total = np.zeros(len(codes))
    for group in itertools.combinations(range(len(sizes)), of):
        distance = group[-1] - group[0] - (of - 1)  # 0 for neighbouring layers
        weight = rng.gamma(1.0) * np.exp(-0.5 * distance)
        for _ in range(2):
            product = np.ones(len(codes))
            for index in group:
                curve = _curve(sizes[index], numeric[index], rng)
                product *= _standard(curve)[codes[:, index]]
            total += weight * product
    return total


def _standard(values: Array) -> Array:
    spread = float(values.std())
    scaled: Array = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return scaled
