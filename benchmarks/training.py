"""Images per second of the trainer against the baseline training.

Both train the same architecture from the same weights on the same images, with the same
batch size, epochs and schedule, and are evaluated after each epoch (a search evaluates at its
rungs only). They take turns, an epoch each, so that other load on the machine affects both. The
trainings are too short to compare accuracies: see `benchmarks.training_accuracy`.
Run as `python runners/benchmark.py training [--gpu] --json FILE`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import torch
import torchvision

from benchmarks import baseline_training
from benchmarks.baseline_training import CPU
from benchmarks.rows import RowFile
from nas.data import SearchData, load_search_data
from nas.data.splits import Split, resize, thin_out
from nas.models.native import build as kernels
from nas.progress import Progress, silent
from nas.space.arch import Arch, make_stage, scale_stem, table2_arch
from nas.threads import cpu_threads
from nas.training import Recipe, Trainer, build, get_recipe

OURS, LAUNCHED = "ours", "ours, kernel by kernel"
WORKERS = {"cpu": (0, 2), "cuda": (0, 2, 8)}  # of the baseline's loader; the fastest one counts
THREADS = {"cpu": (1, 2), "cuda": (1,)}
KEY = ("images", "arch", "threads", "seed")

ARCHITECTURES: dict[str, Arch] = {
    "shallow": Arch(
        scale_stem(32, 0.25),
        tuple(make_stage(*stage, "dct", 4, 4) for stage in ((64, 0.25, 1, 1), (128, 0.25, 2, 2))),
    ),
    "mixed": Arch(
        scale_stem(32, 0.5),
        (
            make_stage(64, 0.5, 2, 1, "dct", 2, 4),
            make_stage(128, 0.5, 3, 2, "pointwise", 2, None),
            make_stage(256, 0.5, 3, 2, "dct", 4, 4),
        ),
    ),
    "Table 2": table2_arch(0.25, 2, 4),
}


@dataclass(frozen=True)
class Images:
    """A data set and its recipe."""

    name: str
    data: SearchData
    recipe: Recipe


@dataclass(frozen=True)
class Case:
    """One comparison."""

    images: Images
    arch: str  # of `ARCHITECTURES`
    threads: int

    @property
    def key(self) -> tuple[str, str, int]:
        """The fields of `KEY` without the seed."""
        return self.images.name, self.arch, self.threads

    def runs(self, row: dict[str, Any]) -> bool:
        """Whether a row of the file is a run of this case."""
        return tuple(row[name] for name in KEY[:3]) == self.key


@dataclass(frozen=True)
class Row:
    """The figures of one comparison."""

    images: str
    arch: str
    threads: int
    runs: int
    images_per_s: dict[str, float]  # medians, by version

    @property
    def baseline(self) -> str:
        """The fastest version of the baseline."""
        versions = [name for name in self.images_per_s if name.startswith("baseline")]
        return max(versions, key=self.images_per_s.__getitem__)

    @property
    def speedup(self) -> float:
        """Images per second of ours over those of the baseline."""
        return self.images_per_s[OURS] / self.images_per_s[self.baseline]


def load_images(data_dir: Path, device: torch.device) -> list[Images]:
    """The data sets and recipes of a device: digits, Fashion-MNIST, 32x32 colour images.

    On the CPU, Fashion-MNIST is at the size of a search and at its own; on a GPU there are
    more images.

    Raises:
        DatasetError: Fashion-MNIST is not found.
    """
    digits = load_search_data("digits", data_dir)
    fashion = load_search_data("fashion-mnist", data_dir, download=False)
    if device.type == "cuda":
        recipe = get_recipe("short-gpu", epochs=3)
        many = shrink(fashion, 12_800, 2560, 28)
        return [
            Images("digits", digits, get_recipe("short-cpu", epochs=3)),
            Images("fashion-mnist", many, recipe),
            Images("fashion-mnist as 32x32x3", in_colour(shrink(many, 12_800, 2560, 32)), recipe),
        ]
    subset = get_recipe("short-cpu-subset", epochs=2)
    batches_of_128 = get_recipe("full", epochs=2)
    return [
        Images("digits", digits, get_recipe("short-cpu", epochs=3)),
        Images("fashion-mnist, 14x14", shrink(fashion, 1024, 256, 14), subset),
        Images("fashion-mnist", shrink(fashion, 512, 128, 28), batches_of_128),
        Images("digits as 32x32x3", in_colour(shrink(digits, 512, 128, 32)), batches_of_128),
    ]


def shrink(data: SearchData, train: int, val: int, size: int) -> SearchData:
    """A stratified subset of `train` and `val` images, resized to side `size`."""
    return SearchData(
        data.info.resized(size),
        resize(thin_out(data.train, train, 0), size),
        resize(thin_out(data.val, val, 0), size),
    )


def in_colour(data: SearchData) -> SearchData:
    """Grey images as three equal channels, with the crop and flip of CIFAR."""
    info = replace(
        data.info, in_channels=3, mean=data.info.mean * 3, std=data.info.std * 3, crop=4, flip=True
    )

    def colour(split: Split) -> Split:
        return Split(split.images.repeat(1, 3, 1, 1), split.labels)

    return SearchData(info, colour(data.train), colour(data.val))


def measure(
    images: Sequence[Images],
    file: RowFile,
    architectures: Iterable[str] = ARCHITECTURES,
    threads: Iterable[int] = THREADS["cpu"],
    repetitions: int = 3,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> list[Row]:
    """Train every case with every version, `repetitions` times with another seed.

    Args:
        images: data sets with their recipes.
        file: with key `KEY`; its runs are not repeated, and each new run is added.
        architectures: names in `ARCHITECTURES`.
        threads: numbers of threads for PyTorch; the present number is restored.
        repetitions: of each case.
        device: where to train.
        progress: given one step for each run, their number, and how many exist already.
    """
    cases = [Case(some, arch, n) for n in threads for some in images for arch in architectures]
    # Seeds in the outer loop, so that minutes lie between two runs of a case.
    work = [(case, seed) for seed in range(repetitions) for case in cases]
    left = [(case, seed) for case, seed in work if (*case.key, seed) not in file]
    kernels.available()  # compiles them now, once on a machine and not within a run

    def steps() -> Iterator[None]:
        for case, seed in left:
            with cpu_threads(case.threads):
                if device.type == "cuda":
                    _warm_up(versions(case, seed, device))
                seconds = take_turns(versions(case, seed, device))
            file.add(dict(zip(KEY, (*case.key, seed), strict=True)) | {"seconds": seconds})
            yield

    for _ in progress(steps(), len(work), len(work) - len(left)):
        pass
    return [_row(case, [row for row in file if case.runs(row)]) for case in cases]


def _warm_up(versions: dict[str, Iterator[float]]) -> None:
    """Train one epoch of each: libraries select a GPU's kernels once for each shape."""
    for version in versions.values():
        next(version)


def _row(case: Case, runs: list[dict[str, Any]]) -> Row:
    recipe, data = case.images.recipe, case.images.data.train
    batch = min(recipe.batch_size, len(data))
    trained = recipe.epochs * (len(data) // batch * batch)
    names = runs[0]["seconds"]
    return Row(
        *case.key,
        len(runs),
        {name: trained / median(run["seconds"][name] for run in runs) for name in names},
    )


def versions(case: Case, seed: int, device: torch.device) -> dict[str, Iterator[float]]:
    """Each version as an iterator that trains an epoch and yields the accuracy.

    On a GPU there is also ours without its CUDA graph.
    """
    arch, data, recipe = ARCHITECTURES[case.arch], case.images.data, case.images.recipe

    def ours(graphed: bool) -> Iterator[float]:
        network = build(arch, data.info, seed)
        trainer = Trainer(network, data, recipe, seed=seed, device=device, graphed=graphed)
        for _ in range(recipe.epochs):
            trainer.train_epoch()
            yield trainer.evaluate()

    def baseline(workers: int) -> Iterator[float]:
        network = baseline_training.plain_network(arch, data.info, seed)
        yield from baseline_training.train(
            network, data, recipe, seed=seed, workers=workers, device=device
        )

    # The baseline comes first: a loader that forks after a CUDA graph was recorded warns.
    return (
        {f"baseline, {workers} workers": baseline(workers) for workers in WORKERS[device.type]}
        | {OURS: ours(graphed=True)}
        | ({LAUNCHED: ours(graphed=False)} if device.type == "cuda" else {})
    )


def take_turns(running: dict[str, Iterator[float]]) -> dict[str, float]:
    """Step all iterators in turns to their ends; the seconds of each."""
    seconds, left = dict.fromkeys(running, 0.0), list(running)
    while left:
        for name in tuple(left):
            start = time.perf_counter()
            value = next(running[name], None)
            seconds[name] += time.perf_counter() - start
            if value is None:
                left.remove(name)
    return seconds


def report(rows: Sequence[Row], device: torch.device = CPU) -> dict[str, Any]:
    """The figures as plain values, with versions and machine, for the JSON file."""
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores{gpu}",
        "repetitions": rows[0].runs,
        "cases": [{**asdict(row), "speedup": row.speedup} for row in rows],
        "speedup": {
            str(threads): geometric_mean(row.speedup for row in rows if row.threads == threads)
            for threads in sorted({row.threads for row in rows})
        },
    }
