"""What the parts of the GPU benchmark share: their options, data, architectures, sizes, rows."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.training import ARCHITECTURES, in_colour, shrink
from nas.data import SearchData, load_search_data
from nas.space.arch import Arch, make_stage, scale_stem
from nas.training import Recipe, Trainer, build, get_recipe

TOY_ARCH = Arch(scale_stem(32, 0.25), (make_stage(64, 0.25, 1, 2, "dct", 2, 4),))


@dataclass(frozen=True)
class Setting:
    """Where and how large; at toy size everything runs on the CPU within a minute."""

    device: torch.device
    data_dir: Path  # with the files of Fashion-MNIST; at toy size the digits take its place
    toy: bool
    scratch: Path  # where studies are written

    @property
    def architectures(self) -> dict[str, Arch]:
        """Those that are trained."""
        return {"toy": TOY_ARCH} if self.toy else ARCHITECTURES

    @property
    def recipe(self) -> Recipe:
        """The short schedule of searches on a GPU."""
        return get_recipe("short-gpu", **({"batch_size": 64, "epochs": 2} if self.toy else {}))

    def data(self) -> SearchData:
        """All images, as 32x32x3."""
        if self.toy:
            return in_colour(shrink(load_search_data("digits", self.data_dir), 256, 128, 8))
        name = "fashion-mnist"
        return in_colour(load_search_data(name, self.data_dir, image_size=32, download=False))

    def some_data(self) -> SearchData:
        """Fewer images, for parts that measure speed alone."""
        return self.data() if self.toy else shrink(self.data(), 12_800, 2560, 32)

    def trainer(self, arch: Arch, data: SearchData, seed: int = 0, graphed: bool = True) -> Trainer:
        """A trial without an end, as a search would train it."""
        recipe = self.recipe.model_copy(update={"epochs": 10_000})
        network = build(arch, data.info, seed)
        return Trainer(
            network, data, recipe, seed=seed, device=self.device, threads=1, graphed=graphed
        )


def row(**values: object) -> None:
    """Hand one result to the process that collects them."""
    print(json.dumps(values), flush=True)


def main(part: Callable[[Setting], None]) -> None:
    """Run a part with the setting that the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # cleans up
    device = torch.device("cpu" if given.toy else "cuda")
    part(Setting(device, given.data_dir, given.toy, given.scratch))
