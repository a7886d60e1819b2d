"""How well short schedules rank architectures: the same ones trained with short and long ones.

Architectures are spread over the choices of the space and over cost. Each is trained with two
seeds of a long schedule, which costs about ten times the default short one, and with a third
seed of every short schedule. A short schedule is judged by its partial rank correlation with
the long one, multiply-adds regressed out, beside that of the long schedule's two seeds.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.processes import in_processes
from benchmarks.rows import RowFile
from nas.data import SearchData, load_search_data
from nas.progress import Progress, silent
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.training import Diverged, Recipe, Trainer, build, get_recipe

Array = NDArray[np.float64]

LONG = "long"
LONG_SEEDS = (0, 1)
SHORT_SEED = 2  # different from the long ones: equal initial weights would raise the correlation
MAX_MACS_PER_PIXEL = 4_000  # 3.1 M at 28x28: trained by two cores in less than two hours
DRAWN = 3_000  # random architectures to choose from
BOOTSTRAPS = 2_000
KEY = ("dataset", "arch_id", "schedule", "seed")

SCHEDULES: dict[str, dict[str, Recipe]] = {
    "digits": {
        LONG: get_recipe("short-cpu", epochs=80),
        "8 epochs (short-cpu)": get_recipe("short-cpu"),
        "4 epochs": get_recipe("short-cpu", epochs=4),
        "12 epochs": get_recipe("short-cpu", epochs=12),
        "16 epochs of 500": get_recipe("short-cpu", epochs=16, train_images=500),
    },
    "fashion-mnist": {
        LONG: get_recipe("short-cpu-subset", epochs=20, train_images=24000, val_images=None),
        "8 x 6000, 14x14 (short-cpu-subset)": get_recipe("short-cpu-subset"),
        "3 x 3000, 14x14": get_recipe("short-cpu-subset", epochs=3, train_images=3000),
        "4 x 6000, 14x14": get_recipe("short-cpu-subset", epochs=4),
        "4 x 12000, 14x14": get_recipe("short-cpu-subset", epochs=4, train_images=12000),
        "2 x 24000, 14x14": get_recipe("short-cpu-subset", epochs=2, train_images=24000),
        "4 x 3000, 28x28": get_recipe("short-cpu-subset", epochs=4, train_images=3000, shrink=1),
    },
}


@dataclass(frozen=True)
class Job:
    """A training of one network."""

    dataset: str
    arch: Arch
    schedule: str
    recipe: Recipe
    seed: int

    @property
    def key(self) -> tuple[Any, ...]:
        """The values of `KEY`."""
        return self.dataset, self.arch.arch_id, self.schedule, self.seed


def spread(space: SearchSpace, data: SearchData, count: int, seed: int = 0) -> list[Arch]:
    """Architectures spread over cost and over the choices of the space.

    The logarithm of the multiply-adds is divided into `count` equal ranges; each non-empty
    one contributes the architecture that differs most from those chosen before.

    Raises:
        ValueError: the space has too few architectures below the limit.
    """
    rng, info = random.Random(seed), data.info
    limit = MAX_MACS_PER_PIXEL * info.image_size**2
    drawn: dict[Arch, tuple[float, dict[str, Any]]] = {}
    for _ in range(DRAWN):
        setting = space.sample_setting(rng)
        arch = space.decode(setting)
        macs = cost(arch, info.image_size, info.in_channels, info.num_classes).macs
        if macs <= limit:
            drawn.setdefault(arch, (math.log(macs), setting))
    if len(drawn) < count:
        raise ValueError(f"{space.name}: has {len(drawn)} of {count} architectures up to {limit}")
    lowest = min(log for log, _ in drawn.values())
    width = (max(log for log, _ in drawn.values()) - lowest) / count or 1.0
    chosen: list[Arch] = []

    def unlike(arch: Arch) -> int:
        mine = drawn[arch][1]
        return min((_differing(mine, drawn[other][1]) for other in chosen), default=0)

    for index in (*range(count), None):
        while len(chosen) < count:
            left = [
                arch
                for arch, (log, _) in drawn.items()
                if arch not in chosen
                and (index is None or min(count - 1, int((log - lowest) / width)) == index)
            ]
            if left:
                chosen.append(max(left, key=unlike))
            if index is not None:  # one of each range first, then any
                break
    return chosen


def _differing(a: dict[str, Any], b: dict[str, Any]) -> int:
    return sum(a.get(name) != b.get(name) for name in {**a, **b})


def jobs(
    space: SearchSpace,
    data: SearchData,
    schedules: dict[str, Recipe],
    architectures: int,
) -> list[Job]:
    """All trainings on one data set, those of one architecture together.

    Cheap and expensive architectures alternate, so that an interrupted run has some of
    every cost.
    """
    work, archs = [], spread(space, data, architectures)
    for index in sorted(range(len(archs)), key=lambda index: f"{index:016b}"[::-1]):
        arch = archs[index]
        for name, recipe in schedules.items():
            for seed in LONG_SEEDS if name == LONG else (SHORT_SEED,):
                work.append(Job(data.info.name, arch, name, recipe, seed))
    return work


def measure(
    work: Sequence[Job],
    file: RowFile,
    data_dir: Path,
    workers: int,
    progress: Progress = silent,
) -> None:
    """Train what `file` lacks; each row is added as it finishes.

    Args:
        work: all trainings.
        file: with key `KEY`.
        data_dir: where data sets are stored.
        workers: processes of one thread each.
        progress: given one step for each training, their number, and how many exist already.
    """
    left = [job for job in work if job.key not in file]
    ended = in_processes(functools.partial(train, data_dir=data_dir), left, workers)
    for _, row in progress(ended, len(work), len(work) - len(left)):
        file.add(row)


def train(job: Job, data_dir: Path) -> dict[str, Any]:
    """One row: accuracy on the validation split, and the pixels that were trained on."""
    data, info = _data(job.dataset, data_dir)
    counted = cost(job.arch, info.image_size, info.in_channels, info.num_classes)
    network = build(job.arch, info, job.seed)
    device = torch.device("cpu")
    trainer = Trainer(network, data, job.recipe, seed=job.seed, device=device, threads=1)
    try:
        while trainer.epoch < job.recipe.epochs:
            trainer.train_epoch()
        accuracy = trainer.evaluate()
    except Diverged:
        accuracy = 0.0
    return dict(zip(KEY, job.key, strict=True)) | {
        "macs": counted.macs,
        "accuracy": accuracy,
        "pixels": trained_pixels(job.recipe, data),
    }


def trained_pixels(recipe: Recipe, data: SearchData) -> int:
    """Pixels of all images that a training sees: what a schedule costs, whatever the network."""
    images = recipe.train_images or len(data.train)
    return int(recipe.epochs * images * recipe.trained_size(data.info.image_size) ** 2)


_LOADED: dict[tuple[str, Path], SearchData] = {}  # of this process


def _data(name: str, data_dir: Path) -> tuple[SearchData, Any]:
    if (name, data_dir) not in _LOADED:
        _LOADED[name, data_dir] = load_search_data(name, data_dir, download=False)
    data = _LOADED[name, data_dir]
    return data, data.info


def rank_correlations(columns: Array) -> Array:
    """Spearman's rank correlations of `columns` [K, N], [K, K]; NaN where one is constant."""
    with np.errstate(invalid="ignore"):
        rho: Array = np.corrcoef(rankdata(columns, axis=1))
    return rho


def partial(rho: Array, x: int, y: int, given: int) -> float:
    """The correlation of columns x and y with the ranks of column `given` regressed out of both."""
    xy, xz, yz = float(rho[x, y]), float(rho[x, given]), float(rho[y, given])
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(rest) if rest > 1e-12 else math.nan


def summarise(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Correlations of each short schedule, over the architectures that have all their rows."""
    datasets: dict[str, dict[str, dict[tuple[str, int], dict[str, Any]]]] = {}
    for row in rows:
        of_arch = datasets.setdefault(row["dataset"], {}).setdefault(row["arch_id"], {})
        of_arch[row["schedule"], row["seed"]] = row
    summaries = []
    for dataset, archs in datasets.items():
        names = dict.fromkeys(name for rows in archs.values() for name, _ in rows if name != LONG)
        for name in names:
            needed = [*((LONG, seed) for seed in LONG_SEEDS), (name, SHORT_SEED)]
            whole = [rows for rows in archs.values() if all(key in rows for key in needed)]
            if len(whole) >= 5:
                table = {key: [rows[key] for rows in whole] for key in needed}
                summaries.append({"dataset": dataset, "schedule": name} | _summary(*table.values()))
    return summaries


def _summary(*columns: list[dict[str, Any]]) -> dict[str, Any]:
    """From the rows of the long schedule's first and second seed, and of the short one."""
    accuracies = np.array([[row["accuracy"] for row in column] for column in columns])
    log_macs = np.log([row["macs"] for row in columns[0]])
    pixels = [column[0]["pixels"] for column in columns]
    drawn = np.random.default_rng(0).integers(len(log_macs), size=(BOOTSTRAPS, len(log_macs)))
    samples = [_correlations(accuracies[:, draw], log_macs[draw]) for draw in drawn]
    summary: dict[str, Any] = {"architectures": len(log_macs)}
    for name, value in _correlations(accuracies, log_macs).items():
        defined = [sample[name] for sample in samples if math.isfinite(sample[name])]
        summary[name] = value if math.isfinite(value) else None
        summary[f"{name}_interval"] = (
            np.percentile(defined, [2.5, 97.5]).tolist() if len(defined) > BOOTSTRAPS / 2 else None
        )
    return summary | {"cost_ratio": pixels[0] / pixels[2]}


def _correlations(accuracies: Array, log_macs: Array) -> dict[str, float]:
    """Correlations of accuracies [3, N], of the long schedule's seeds and of the short one."""
    first, second, short, macs = range(4)
    rho = rank_correlations(np.vstack([accuracies, log_macs]))
    # With each single seed of the long schedule, as its seeds are compared with each other.
    short_partial = fmean(partial(rho, short, long, macs) for long in (first, second))
    seeds_partial = partial(rho, first, second, macs)
    return {
        "spearman": fmean(float(rho[short, long]) for long in (first, second)),
        "seeds_spearman": float(rho[first, second]),
        "partial": short_partial,
        "seeds_partial": seeds_partial,
        # Undefined where the seeds of the long schedule hardly correlate with each other.
        "ratio": short_partial / seeds_partial if seeds_partial > 0.05 else math.nan,
    }
