"""Fake quantisation beside ONNX Runtime's int8 files, and accuracy in int8 beside that in float.

Run as `python runners/benchmark.py int8-accuracy --json FILE`; an unfinished file is continued.
Networks of up to `MOST` multiply-adds are trained by a search's short schedule, at its image size
and on its training images. Each is retrained, exported and read again as a user does it, and all
accuracies are of the whole validation split, of which a search's trials take a part.
"""

from __future__ import annotations

import random
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from benchmarks.rows import RowFile
from benchmarks.schedule import partial, rank_correlations
from nas.data import Batches, SearchData, load_search_data
from nas.deploy.export import export, require_format
from nas.models.fake_quantise import calibration_images, fake_quantise
from nas.pareto import non_dominated
from nas.progress import shown
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.stopping.rule import rungs
from nas.training import Recipe, Trainer, accuracy, default_recipe
from nas.training.evaluate import EVALUATION_BATCH
from nas.training.full import retrain
from nas.training.pretrained import load_pretrained
from nas.training.trainer import shorten

LEAST, MOST = 300_000, 2_000_000  # multiply-adds, at the data set's own image size
SEEDS = (0, 1)  # two trainings of each network, to compare what int8 and what a seed changes
BOOTSTRAPS = 2_000
FEWEST = 5  # networks that ranks are compared of
KEY = ("arch_id", "seed")
CPU = torch.device("cpu")

Array = NDArray[np.float64]
Row = dict[str, Any]


def networks(space: SearchSpace, count: int, sizes: tuple[int, int, int]) -> list[Arch]:
    """Random networks, one for each equal part of log multiply-adds, in random order."""
    rng, drawn = random.Random(0), []
    for part in range(count):
        low, high = (LEAST * (MOST / LEAST) ** ((part + end) / count) for end in (0, 1))
        while not low <= cost(arch := space.sample(rng), *sizes).macs <= high:
            pass
        drawn.append(arch)
    rng.shuffle(drawn)
    return drawn


def measure(arch: Arch, seed: int, data: SearchData, recipe: Recipe, folder: Path) -> Row:
    """Train a network and compare its forms.

    Args:
        arch: of the network.
        seed: of the training.
        data: at the size that the recipe trains at; the whole validation split.
        recipe: whose images are not shrunk any more.
        folder: empty.

    Returns:
        Accuracies in float, by fake quantisation and of the int8 file in ONNX Runtime; seconds of
        one thread for the training without evaluations, and for one evaluation of a trial in
        float and in int8.
    """
    start = time.process_time()
    retrain(arch, data, lambda: data.val, recipe, seed, folder, device=CPU, threads=1)
    trained = time.process_time() - start
    exported = export(folder, ("int8",), lambda: data.val, shorten(data, recipe).train)["int8"]
    network = load_pretrained(folder)
    ranges = calibration_images(shorten(data, recipe).train)
    [(images_BCHW, _)] = Batches(ranges, data.info, len(ranges), CPU)
    fake = fake_quantise(network, images_BCHW)
    seconds = {
        quantized: _evaluation_seconds(network, data, recipe, quantized)
        for quantized in (False, True)
    }
    return {
        "arch_id": arch.arch_id,
        "seed": seed,
        "arch": arch.to_dict(),
        "float": exported["float_accuracy"],
        "fake": accuracy(fake, Batches(data.val, data.info, EVALUATION_BATCH, CPU)),
        "runtime": exported["accuracy"],
        # `retrain` evaluates after each epoch.
        "training_seconds": trained - recipe.epochs * seconds[False],
        "float_seconds": seconds[False],
        "int8_seconds": seconds[True],
    }


def _evaluation_seconds(
    network: nn.Module, data: SearchData, recipe: Recipe, quantized: bool
) -> float:
    """Seconds of one evaluation before the end of a trial, on one thread; the second of two."""
    trainer = Trainer(network, data, recipe, seed=0, device=CPU, threads=1, quantized=quantized)
    trainer.evaluate()
    start = time.process_time()
    trainer.evaluate()
    return time.process_time() - start


def summarise(rows: list[Row], epochs: int) -> dict[str, Any]:
    """What the rows say.

    - `agreement`: the greatest and the median difference of fake quantisation from ONNX Runtime,
      beside the greatest of float from it.
    - `loss`: float accuracy minus that in int8.
    - `added`: the share of a trial's time that evaluation in int8 adds.
    - `int8`: the networks of the first seed in float and in int8; `seeds`: two trainings in float,
      where both are measured. Each has the number of networks, Spearman's rank correlation, the
      same with multiply-adds regressed out of both (`partial`), with 95 % bootstrap intervals, and
      how many networks are on the front of accuracy and multiply-adds in one, the other and both.

    Accuracies are fractions.
    """
    column = {name: np.array([row[name] for row in rows]) for name in ("float", "fake", "runtime")}
    evaluations = len(rungs(epochs))
    added = [
        evaluations
        * (row["int8_seconds"] - row["float_seconds"])
        / (row["training_seconds"] + evaluations * row["float_seconds"])
        for row in rows
    ]
    summary: dict[str, Any] = {
        "trainings": len(rows),
        "agreement": {
            "most": float(np.abs(column["fake"] - column["runtime"]).max()),
            "median": float(np.median(np.abs(column["fake"] - column["runtime"]))),
            "float_most": float(np.abs(column["float"] - column["runtime"]).max()),
        },
        "loss": _spread(column["float"] - column["runtime"]),
        "added": _spread(np.array(added)),
    }
    first, second = ({r["arch_id"]: r for r in rows if r["seed"] == seed} for seed in SEEDS)
    pairs = {
        "int8": [(row["float"], row["runtime"], row["macs"]) for row in first.values()],
        "seeds": [
            (row["float"], second[one]["float"], row["macs"])
            for one, row in first.items()
            if one in second
        ],
    }
    for name, of in pairs.items():
        if len(of) >= FEWEST:
            summary[name] = _compare(np.array(of).T)
    return summary


def _spread(values: Array) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": float(values.min())} | {
        "most": float(values.max())
    }


def _compare(values: Array) -> dict[str, Any]:
    """Ranks and fronts of two accuracies of each network; the third row are multiply-adds."""
    count = values.shape[1]
    drawn = np.random.default_rng(0).integers(count, size=(BOOTSTRAPS, count))
    samples = np.array([_correlations(values[:, draw]) for draw in drawn])
    ends = np.nanpercentile(samples, [2.5, 97.5], axis=0).T.tolist()
    plain, at_equal_cost = (
        [value, *end] for value, end in zip(_correlations(values), ends, strict=True)
    )
    fronts = [
        set(np.flatnonzero(non_dominated(np.stack([1 - accuracies, values[2]], 1))).tolist())
        for accuracies in values[:2]
    ]
    return {
        "networks": count,
        "spearman": plain,
        "partial": at_equal_cost,
        "on_front": [len(fronts[0]), len(fronts[1]), len(fronts[0] & fronts[1])],
    }


def _correlations(values: Array) -> tuple[float, float]:
    rho = rank_correlations(values)
    return float(rho[0, 1]), partial(rho, 0, 1, 2)


def run_and_report(
    space: Path, dataset: str, data_dir: Path, count: int, json_path: Path | None
) -> dict[str, Any]:
    """Measure on one thread and print what was found; figures are written after each network.

    Raises:
        ValueError: ONNX Runtime is not installed, the data set is not here, or the file holds
            another measurement.
    """
    require_format("int8")
    torch.set_num_threads(1)
    loaded = load_search_data(dataset, data_dir, download=False)
    sizes = (loaded.info.image_size, loaded.info.in_channels, loaded.info.num_classes)
    recipe = default_recipe(dataset, gpu=False)
    data = shorten(loaded, recipe.model_copy(update={"train_images": None, "val_images": None}))
    recipe = recipe.model_copy(update={"shrink": 1})
    searched = SearchSpace.from_yaml(space)
    packages = {name: version(name) for name in ("torch", "onnx", "onnxruntime")}
    setting = {
        "space": searched.name,
        "dataset": f"{dataset}, {len(data.val):,} validation images",
        "image_size": data.info.image_size,
        "recipe": recipe.model_dump(),
        "networks": count,
        "macs": [LEAST, MOST],
        "threads": 1,
        "versions": packages,
    }
    file = RowFile(json_path, setting, KEY)
    drawn = networks(searched, count, sizes)
    left = [(arch, seed) for seed in SEEDS for arch in drawn if (arch.arch_id, seed) not in file]
    for arch, seed in shown("networks")(left, len(left)):
        with TemporaryDirectory() as folder:
            row = measure(arch, seed, data, recipe, Path(folder) / "net")
        file.add(row | {"macs": cost(arch, *sizes).macs})
    summary = summarise(list(file), recipe.epochs)
    file.write({"summary": summary})
    _print(summary)
    return summary


def points(share: float) -> str:
    """A share of the images as points of accuracy."""
    return f"{100 * share:.2f}"


def _print(summary: dict[str, Any]) -> None:
    console, agreement, loss = Console(highlight=False), summary["agreement"], summary["loss"]
    console.print(
        f"{summary['trainings']} trainings: fake quantisation and ONNX Runtime differ by at most "
        f"{points(agreement['most'])} points of accuracy (median {points(agreement['median'])}), "
        f"float and ONNX Runtime by at most {points(agreement['float_most'])}"
    )
    console.print(
        f"int8 loses {points(loss['median'])} points in the median ({points(loss['least'])} to "
        f"{points(loss['most'])}); evaluation in int8 adds {100 * summary['added']['median']:.1f} "
        "% to a trial"
    )
    for name, what in (("int8", "float and int8"), ("seeds", "two seeds in float")):
        if name in summary:
            found = summary[name]
            value, low, high = found["partial"]
            one, other, both = found["on_front"]
            console.print(
                f"{what}, {found['networks']} networks: partial rank correlation {value:.3f} "
                f"({low:.3f} to {high:.3f}), {one} and {other} on the front, {both} on both"
            )
