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
from nas.training.full import retrain
from nas.training.pretrained import load_pretrained
from nas.training.trainer import EVALUATION_BATCH, shorten

LEAST, MOST = 300_000, 2_000_000  # multiply-adds, at the data set's own image size
SEEDS = (0, 1)  # two trainings of each network, to compare what int8 and what a seed changes
BOOTSTRAPS = 2_000
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

    `agreement`: the greatest and the median difference of fake quantisation from ONNX Runtime,
    beside the greatest of float from it. `loss`: float accuracy minus that in int8. `added`: the
    share of a trial's time that evaluation in int8 adds. `correlations`: ranks of float and int8
    accuracies of the same training, and for comparison of two trainings in float, plain and with
    multiply-adds regressed out of both; with 95 % bootstrap intervals. `front`: how many networks
    are on the front of accuracy and multiply-adds in float, in int8, and in both. Accuracies are
    fractions; where nothing else is said, of the first seed.
    """
    column = {name: np.array([row[name] for row in rows]) for name in ("float", "fake", "runtime")}
    seconds = [
        len(rungs(epochs))
        * (row["int8_seconds"] - row["float_seconds"])
        / (row["training_seconds"] + len(rungs(epochs)) * row["float_seconds"])
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
        "added": _spread(np.array(seconds)),
    }
    by_seed = [{row["arch_id"]: row for row in rows if row["seed"] == seed} for seed in SEEDS]
    first, second = ([of[one] for one in by_seed[0] if one in by_seed[1]] for of in by_seed)
    if len(first) >= 5:
        values = np.array(
            [
                [row["float"] for row in first],
                [row["runtime"] for row in first],
                [row["float"] for row in second],
                [np.log(row["macs"]) for row in first],
            ]
        )
        summary["correlations"] = _with_intervals(values)
        on_front = {name: _front(values[i], values[3]) for i, name in enumerate(("float", "int8"))}
        on_front["another_seed"] = _front(values[2], values[3])
        summary["front"] = {
            "networks": len(first),
            "float": len(on_front["float"]),
            "int8": len(on_front["int8"]),
            "both": len(on_front["float"] & on_front["int8"]),
            "another_seed": len(on_front["another_seed"]),
            "both_seeds": len(on_front["float"] & on_front["another_seed"]),
        }
    return summary


def _spread(values: Array) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": float(values.min())} | {
        "most": float(values.max())
    }


def _front(accuracies: Array, log_macs: Array) -> set[int]:
    return set(np.flatnonzero(non_dominated(np.stack([1 - accuracies, log_macs], 1))).tolist())


def _correlations(values: Array) -> dict[str, float]:
    """From accuracies in float, in int8 and in float by another seed, and log multiply-adds."""
    rho = rank_correlations(values)
    return {
        "int8": float(rho[0, 1]),
        "int8_partial": partial(rho, 0, 1, 3),
        "seeds": float(rho[0, 2]),
        "seeds_partial": partial(rho, 0, 2, 3),
    }


def _with_intervals(values: Array) -> dict[str, list[float]]:
    """Each correlation, and the ends of its interval."""
    drawn = np.random.default_rng(0).integers(values.shape[1], size=(BOOTSTRAPS, values.shape[1]))
    samples = [_correlations(values[:, draw]) for draw in drawn]
    return {
        name: [value, *np.nanpercentile([one[name] for one in samples], [2.5, 97.5]).tolist()]
        for name, value in _correlations(values).items()
    }


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
    for name, (value, low, high) in summary.get("correlations", {}).items():
        console.print(f"rank correlation, {name}: {value:.3f} ({low:.3f} to {high:.3f})")
    if "front" in summary:
        console.print(f"front: {summary['front']}")
