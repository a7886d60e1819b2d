"""Costs of NATS-Bench's topology space at other sizes, beside networks that PyTorch builds."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks.nats_costs import with_costs
from benchmarks.sampler import load_problem
from benchmarks.tables import from_frame

OPERATIONS = ("none", "skip", "conv1", "conv3", "pool3")


def convolution(w_in, w_out, kernel, stride=1):
    return nn.Sequential(
        nn.Conv2d(w_in, w_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(w_out)
    )


class Block(nn.Module):
    """The residual block between two stages."""

    def __init__(self, width):
        super().__init__()
        self.first = convolution(width, 2 * width, 3, 2)
        self.second = convolution(2 * width, 2 * width, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(width, 2 * width, 1, bias=False))

    def forward(self, x):
        return self.second(self.first(x)) + self.shortcut(x)


class Cell(nn.Module):
    """The edges with convolutions; what a cell adds up does not matter for its cost."""

    def __init__(self, width, operations):
        super().__init__()
        kernels = [int(name[-1]) for name in operations if name.startswith("conv")]
        self.edges = nn.ModuleList(convolution(width, width, kernel) for kernel in kernels)

    def forward(self, x):
        return x + sum(edge(x) for edge in self.edges)


def build(operations, classes, cells, width):
    layers = [convolution(3, width, 3)]
    for stage in range(3):
        channels = width * 2**stage
        layers += [Block(channels // 2)] if stage else []
        layers += [Cell(channels, operations) for _ in range(cells)]
    end = [nn.BatchNorm2d(4 * width), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *end, nn.Linear(4 * width, classes))


def count(network):
    """Multiply-adds of one 32x32 image, and parameters."""
    macs = 0

    def add(module, inputs, output):
        nonlocal macs
        fan_in = module.weight[0].numel()
        macs += fan_in * output[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32))
    return macs, sum(p.numel() for p in network.parameters())


def write(path, classes=10, edges=2):
    """A table of cells with fewer edges, with the costs of 5 cells and 16 channels."""
    rows = []
    for cell in itertools.product(OPERATIONS, repeat=edges):
        macs, params = count(build(cell, classes, 5, 16))
        rows.append([*cell, 50.0 + len(rows), macs, params])
    names = [*(f"x{i + 1}" for i in range(edges)), "accuracy_1", "macs", "params"]
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("sizes", "cells", "width"),
    [("cells=2", 2, 16), ("width=8", 5, 8), ("width=24,cells=1", 1, 24)],
)
def test_costs_of_another_size_are_those_of_the_network(tmp_path, sizes, cells, width):
    path = write(tmp_path / "table.csv", classes=7)
    measured, other = load_problem(str(path)).table, load_problem(f"{path}:{sizes}").table
    assert (other.accuracy == measured.accuracy).all()
    assert other.name == f"table:{sizes}"
    for row in range(0, len(other.codes), 4):
        words = [c.values[code] for c, code in zip(other.choices, other.codes[row], strict=True)]
        macs, params = count(build(words, 7, cells, width))
        assert (other.macs[row], other.params[row]) == (macs, params)
    assert (np.argsort(other.macs, kind="stable") == np.argsort(measured.macs, kind="stable")).all()


@pytest.mark.parametrize(
    "sizes", ["cells=0", "cells=1,cells=2", "depth=3", "cells=x", "cells=5000", "width="]
)
def test_bad_sizes_are_refused(tmp_path, sizes):
    path = write(tmp_path / "table.csv", edges=1)
    with pytest.raises(ValueError, match="accepted: "):
        load_problem(f"{path}:{sizes}")


def test_tables_of_other_spaces_are_refused(tmp_path):
    frame = pd.read_csv(write(tmp_path / "table.csv", edges=1))
    with pytest.raises(ValueError, match="costs of 5 cells"):
        with_costs(from_frame(frame.assign(macs=frame.macs + 1), "a"), "cells=2")
    with pytest.raises(ValueError, match="costs of 5 cells"):
        with_costs(from_frame(frame.assign(params=frame.params * 2), "a"), "cells=2")
    with pytest.raises(ValueError, match="operation swap"):
        with_costs(from_frame(frame.replace("skip", "swap"), "a"), "cells=2")
