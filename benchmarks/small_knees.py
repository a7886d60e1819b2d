"""Whole searches on few images, and the network of each that a user would train in full.

Each data set of `benchmarks.retraining.SMALL` is written as a folder of PNG files, searched as such
by `nas search`, and the knee of the front (the most accurate network of a front of fewer than five)
is trained by `nas retrain` with the recipe that it chooses for so few images. Its test accuracy is
compared with that of the search's own short training of the same network, which is made again here,
since a search keeps no weights.
Run as `python runners/benchmark.py small-knees --folder DIR --json FILE`; what is in DIR continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.commands import run_command
from benchmarks.retraining_data import SMALL, small_data
from benchmarks.rows import RowFile, print_table
from nas.data import Batches, Split, load_search_data, load_test_data
from nas.data.splits import resize
from nas.models.native import build as kernels
from nas.progress import shown
from nas.retrain.second_recipe import CHOICES, FOLDER
from nas.study.front_file import load_front
from nas.threads import cpu_threads
from nas.training import Recipe, Trainer, accuracy, build

TEST_IMAGES = 2_000  # at most
KEY = ("data", "seed")


@dataclass(frozen=True)
class SmallSearches:
    """Where data sets and studies are kept, and how long the searches are."""

    folder: Path
    budget: int = 50  # trials
    data_dir: Path = Path("data")  # of Fashion-MNIST

    def compare(self, data: str, seed: int) -> dict[str, Any]:
        """Search, train the knee, and train it shortly again; what exists is read.

        Raises:
            RuntimeError: a command failed.
        """
        images = self.folder.resolve() / "images" / data
        if not images.exists():
            _write_images(data, self.data_dir, images)
        dataset, study = f"folder:{images}", f"{data}-{seed}"
        results = self.folder.resolve() / "studies"
        front = results / study / "front.json"
        run_command(
            *("search", "--dataset", dataset, "--study", study, "--results", results),
            *("--seed", seed, "--budget", self.budget, "--quiet"),
        )
        run_command("retrain", front, "--quiet")
        home = front.parent / "retrained"
        summary = json.loads((home / "summary.json").read_bytes())
        (network,) = summary["networks"] + summary["other_recipes"]
        low, high = network["test_interval"]
        return {
            "data": data, "seed": seed, "arch": network["arch"], "macs": network["macs"],
            "again": (home / FOLDER / CHOICES).exists(), "test_images": network["test_images"],
            "full": network["test_accuracy"], "low": low, "high": high,
            "short": _short_accuracy(front, network["arch"]),
        }  # fmt: skip


def _write_images(data: str, data_dir: Path, folder: Path) -> None:
    """The data set as `folder/train/CLASS/NUMBER.png` and `folder/test/...`."""
    search, test = small_data(data, data_dir)
    shown_to_search = Split(
        torch.cat([search.train.images, search.val.images]),
        torch.cat([search.train.labels, search.val.labels]),
    )
    aside = folder.with_name(f"{folder.name}.part")
    for part, split in (
        ("train", shown_to_search),
        ("test", test.take(np.arange(min(TEST_IMAGES, len(test))))),
    ):
        pairs = zip(split.images.numpy(), split.labels.tolist(), strict=True)
        for number, (image_CHW, label) in enumerate(pairs):
            path = aside / part / f"class-{label}" / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image_CHW.transpose(1, 2, 0).squeeze()).save(path)
    aside.rename(folder)


def _short_accuracy(front: Path, arch: str) -> float:
    """Test accuracy of a network of the front after the training of its trial."""
    file = load_front(front)
    (entry,) = (one for one in file.architectures if str(one.build_arch()) == arch)
    recipe, info = Recipe.model_validate(file.recipe), file.dataset_info()
    data = load_search_data(info.name, Path("data"), **info.reading())
    with cpu_threads(1):
        trainer = Trainer(
            *(build(entry.build_arch(), info, entry.seed), data, recipe),
            seed=entry.seed,
            device=torch.device("cpu"),
            threads=1,
        )
        for _ in range(recipe.epochs):
            trainer.train_epoch()
        test = load_test_data(info.name, Path("data"), **info.reading())
        test = resize(test, recipe.trained_size(info.image_size))
        return accuracy(trainer.evaluated, Batches(test, info, 500, torch.device("cpu")))


def run_and_report(searches: SmallSearches, seeds: int, json_path: Path | None) -> None:
    """Make what is missing, print a table, write the rows.

    Raises:
        ValueError: the file is of another setting.
        RuntimeError: a command failed.
    """
    file = RowFile(json_path, {"budget": searches.budget}, KEY)
    kernels.available()  # compiled into the user's cache, once per machine
    work = [(data, seed) for seed in range(seeds) for data in SMALL]
    left = [key for key in work if key not in file]

    def steps() -> Iterator[None]:
        for data, seed in left:
            file.add(searches.compare(data, seed))
            yield

    for _ in shown("searches")(steps(), len(work), len(work) - len(left)):
        pass
    print_table(knee_rows(list(file)))


def knee_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A heading, and for each data set the accuracies of its knees, medians and ranges."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == data]
        accuracies = (_spread([row[name] for row in own]) for name in ("short", "full"))
        again, below = (row["again"] for row in own), (row["high"] < row["short"] for row in own)
        lines.append([data, str(len(own)), *accuracies, str(sum(again)), str(sum(below))])
    heading = ["data set", "searches", "short schedule", "full", "trained twice",
               "below the short schedule"]  # fmt: skip
    return [heading, *lines]


def _spread(accuracies: Sequence[float]) -> str:
    low, middle, high = (100 * one(accuracies) for one in (min, median, max))
    return f"{middle:.1f} % ({low:.1f} to {high:.1f})"
