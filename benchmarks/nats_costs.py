"""NATS-Bench's topology space with the costs of another number of cells or another width.

An architecture of that space is a cell of six edges with one operation each. A network has a stem,
three stages of `cells` cells at 32x32, 16x16 and 8x8 pixels with `width`, 2 `width` and 4 `width`
channels, a residual block that halves the resolution between two stages, and a linear classifier
(Dong, Liu, Musial and Gabrys, "NATS-Bench", 2021, arXiv 2009.00437, section 3.1). The tables were
trained with 5 cells a stage and a width of 16. Everything but the accuracies follows from these two
numbers, so the costs here are exact. The accuracies stay those that were measured at 5 and 16: they
stand for results of the other size.

With any size, a 3x3 convolution costs nine 1x1 convolutions, and a cell has six operations. So the
order of the architectures by cost is the same at every size; by how much they differ is not: of 15
cells a stage the most expensive network costs 83 times the cheapest one, of a single cell 6 times.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import Table

MEASURED = {"cells": 5, "width": 16}  # of the tables
MOST = {"cells": 100, "width": 1024}
FORM = "accepted: cells=N, width=N or both, such as cells=15,width=32"
CONVOLUTIONS = {"conv1": 1, "conv3": 9}  # values of the kernel
FREE = {"none", "skip", "pool3"}  # neither multiply-adds nor parameters
PIXELS = (1024, 256, 64)  # of the stages

Array = NDArray[np.float64]


def with_costs(table: Table, sizes: str) -> Table:
    """The table with the costs of another size.

    Args:
        table: of NATS-Bench's topology space, with the costs of 5 cells and a width of 16.
        sizes: such as "cells=15,width=32"; what is not given stays as it was measured.

    Raises:
        ValueError: the sizes cannot be read, or the table is of another space.
    """
    size = MEASURED | _parse(table.name, sizes)
    kernels = _kernels(table)
    classes = np.unique((table.macs - _macs(kernels, 0, **MEASURED)) / (4 * MEASURED["width"]))
    known = len(classes) == 1 and classes[0] > 0 and classes[0] == int(classes[0])
    if not known or (table.params != _params(kernels, int(classes[0]), **MEASURED)).any():
        raise ValueError(
            f"table {table.name}: {sizes}; accepted: tables of NATS-Bench's topology space with "
            "the costs of 5 cells and 16 channels"
        )
    count = int(classes[0])
    return replace(
        table,
        name=f"{table.name}:{sizes}",
        macs=_macs(kernels, count, **size),
        params=_params(kernels, count, **size),
    )


def _parse(name: str, sizes: str) -> dict[str, int]:
    parsed: dict[str, int] = {}
    for part in sizes.split(","):
        key, _, text = part.partition("=")
        if key not in MOST or key in parsed or not text.isdecimal():
            raise ValueError(f"table {name}: {sizes}; {FORM}")
        parsed[key] = int(text)
        if not 1 <= parsed[key] <= MOST[key]:
            raise ValueError(f"table {name}: {part}; accepted: 1 to {MOST[key]}")
    return parsed


def _kernels(table: Table) -> Array:
    """[N, edges], weights of each operation for one pair of channels."""
    weights = CONVOLUTIONS | dict.fromkeys(FREE, 0)
    words = {str(value) for choice in table.choices for value in choice.values}
    if unknown := words - weights.keys():
        raise ValueError(
            f"table {table.name}: operation {min(unknown)}; accepted with cells= and width=: "
            f"{', '.join(sorted(weights))}"
        )
    columns = [
        np.array([float(weights[str(value)]) for value in choice.values])[codes]
        for choice, codes in zip(table.choices, table.codes.T, strict=True)
    ]
    return np.column_stack(columns)


def _macs(kernels: Array, classes: int, cells: int, width: int) -> Array:
    """Multiply-adds, [N], without bias."""
    fixed = PIXELS[0] * 27 * width + 4 * width * classes
    for stage in (1, 2):  # the block before it: 3x3, 3x3 and the 1x1 of its shortcut
        before = width * 2 ** (stage - 1)
        fixed += PIXELS[stage] * (18 + 36 + 2) * before * before
    each = sum(
        pixels * (width * 2**stage) ** 2 for stage, pixels in enumerate(PIXELS)
    )  # of a 1x1 convolution in a cell of each stage
    return np.asarray(fixed + cells * each * kernels.sum(axis=1))


def _params(kernels: Array, classes: int, cells: int, width: int) -> Array:
    """Parameters, [N]; every convolution but that of a shortcut has a batch normalisation."""
    fixed = 27 * width + 2 * width + 8 * width + 4 * width * classes + classes
    total = np.zeros(len(kernels))
    for stage in range(len(PIXELS)):
        channels = width * 2**stage
        if stage:
            fixed += (18 + 36 + 2) * (channels // 2) ** 2 + 4 * channels
        normalised = (kernels > 0).sum(axis=1)
        total += cells * (channels**2 * kernels.sum(axis=1) + 2 * channels * normalised)
    return total + fixed
