"""Full training: the recipe on few images, ideas for a better recipe, and learning rates.

Four parts, each a training a row. `small`: two networks of an earlier search on three data sets of
200 to 800 images, by the short schedule of a search, by the recipe `full`, and adapted. `ideas`:
networks of that search and their pointwise twins on 12,000 images of Fashion-MNIST, by the recipe
`full` for 6 epochs and with one thing changed; accuracy is of 20,000 other training images, so that
the test set decides nothing. Differences are paired by network and seed. `long-ideas`: the same on
the whole training split for 12 epochs, judged on the validation split, with the accuracy after each
epoch. The teacher is the most expensive network of the front, trained in the same way. `rates`: the
short runs that choose a learning rate for 20 epochs, beside the validation accuracies of whole
trainings at the same rates, which that search's retraining recorded for two networks. The recipe is
the form of `full` that averaged the weights, with crops and flips of Fashion-MNIST.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.retraining_ideas import (
    BASE_CROP,
    BASE_FIELDS,
    BASE_FLIP,
    IDEAS,
    Idea,
    idea_trainer,
)
from benchmarks.rows import RowFile
from nas.data import Batches, DatasetInfo, SearchData, Split, load_search_data, load_test_data
from nas.data.info import mean_std
from nas.data.splits import resize
from nas.files import write_json
from nas.progress import Progress, silent
from nas.retrain.learning_rate import CHOICES
from nas.retrain.references import SEARCHED, TWIN, equal_cost_twin
from nas.retrain.short_run import ShortRuns
from nas.space.arch import Arch
from nas.study.front_file import load_front
from nas.threads import cpu_threads
from nas.training import Diverged, Trainer, accuracy, build, get_recipe
from nas.training.distillation import Teacher
from nas.training.full import retrain
from nas.training.small_data import adapt
from nas.training.teacher import keep_logits, read_teacher

FRONT = Path(__file__).parents[1] / "results" / "benchmarks" / "earlier-run" / "front.json"
NETWORKS = {"0.4 M": "a8fa898fecac", "1.0 M": "6d098590f5c0"}  # multiply-adds at 28x28: arch_id
KEY = ("part", "data", "network", "recipe", "seed")
CPU = torch.device("cpu")

SHORT, FULL, ADAPTED = "short schedule", "full, as it is", "full, adapted"
RATES, RATE_EPOCHS = (0.05, 0.1, 0.2, 0.4, 0.8), 20  # of whole trainings
IDEA_IMAGES, IDEA_EPOCHS, HELD_OUT = 12_000, 6, 20_000
LONG_EPOCHS = 12


@dataclass(frozen=True)
class Job:
    """One training."""

    part: str
    data: str
    network: str
    recipe: str
    seed: int

    @property
    def key(self) -> tuple[Any, ...]:
        """The values of `KEY`."""
        return self.part, self.data, self.network, self.recipe, self.seed


def jobs(parts: Sequence[str], seeds: int) -> list[Job]:
    """All trainings; one seed of everything comes before the next one."""
    work = []
    for seed in range(seeds):
        if "small" in parts:
            work += [
                Job("small", data, network, recipe, seed)
                for data in SMALL
                for network in NETWORKS
                for recipe in (SHORT, FULL, ADAPTED)
            ]
        if "rates" in parts:
            work += [
                Job("rates", "fashion-mnist", network, f"{rate:g}", seed)
                for network in recorded_grids()
                for rate in RATES
            ]
        if "ideas" in parts:
            work += [
                Job("ideas", "fashion-mnist", network, idea, seed)
                for idea in IDEAS
                for network in idea_networks()
            ]
        if "long-ideas" in parts:
            work += [
                Job("long-ideas", "fashion-mnist", network, idea, seed)
                for network in idea_networks()
                for idea in IDEAS
                if not IDEAS[idea].taught
            ]
    return work


def measure(
    work: Sequence[Job], file: RowFile, data_dir: Path, progress: Progress = silent
) -> None:
    """Train what `file` lacks, on one thread; each row is added as it finishes."""
    left = [job for job in work if job.key not in file]

    def steps() -> Iterator[None]:
        for job in left:
            train = TRAIN[job.part]
            file.add(dict(zip(KEY, job.key, strict=True)) | train(job, data_dir))
            yield

    for _ in progress(steps(), len(work), len(work) - len(left)):
        pass


def _train_small(job: Job, data_dir: Path) -> dict[str, Any]:
    data, test = small_data(job.data, data_dir)
    recipe = get_recipe("short-cpu" if job.data == "digits" else "short-cpu-subset")
    if job.recipe != SHORT:
        recipe = get_recipe("full", **BASE_FIELDS)
    if job.recipe == ADAPTED:
        recipe = adapt(recipe, len(data.train))
    network = build(networks()[job.network], data.info, job.seed)
    trainer = Trainer(network, data, recipe, seed=job.seed, device=CPU, threads=1)
    seconds, _ = _finish(trainer)
    # The short schedule may train at a part of the size; its test images have it too.
    resized = resize(test, recipe.trained_size(data.info.image_size))
    return {
        "images": len(data.train),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "accuracy": accuracy(trainer.evaluated, Batches(resized, data.info, 500, CPU)),
        "test_images": len(test),
        "seconds": seconds,
    }


def _train_idea(job: Job, data_dir: Path) -> dict[str, Any]:
    data = _idea_data(data_dir)
    idea: Idea = IDEAS[job.recipe]
    recipe = get_recipe("full", **(BASE_FIELDS | {"epochs": IDEA_EPOCHS} | idea.fields))
    network = build(idea_networks()[job.network], data.info, job.seed)
    teacher, before = _teacher(data_dir) if idea.taught else (None, 0.0)
    if teacher is not None:
        recipe = recipe.model_copy(update={"teacher": teacher.network})
    trainer = idea_trainer(idea, network, data, recipe, job.seed, teacher)
    seconds, losses = _finish(trainer)
    taught = {"teacher_seconds": before} if teacher is not None else {}
    return {"accuracy": trainer.evaluate(), "seconds": seconds, "losses": losses} | taught


def _train_long_idea(job: Job, data_dir: Path) -> dict[str, Any]:
    data = _fashion_mnist(data_dir)
    idea: Idea = IDEAS[job.recipe]
    recipe = get_recipe("full", **(BASE_FIELDS | {"epochs": LONG_EPOCHS} | idea.fields))
    network = build(idea_networks()[job.network], data.info, job.seed)
    trainer = idea_trainer(idea, network, data, recipe, job.seed)
    val = Batches(data.val, data.info, 500, CPU)
    seconds, averaged, last = 0.0, [], []  # after each epoch
    while trainer.epoch < recipe.epochs:
        start = time.thread_time()
        trainer.train_epoch()
        seconds += time.thread_time() - start
        averaged.append(accuracy(trainer.evaluated, val))
        last.append(accuracy(trainer.network, val))
    return {"accuracy": averaged[-1], "seconds": seconds, "averaged": averaged, "last": last}


@cache
def _teacher(data_dir: Path) -> tuple[Teacher, float]:
    """The most expensive network of the front, trained on the same images for as many epochs.

    Also the thread's seconds, those of the logits included. Both are kept in the data's folder.
    """
    folder = data_dir / "retraining-teacher"
    seconds = folder / "thread-seconds.json"
    data, entry = _idea_data(data_dir), max(load_front(FRONT).architectures, key=lambda e: e.macs)
    if not seconds.exists():
        shutil.rmtree(folder, ignore_errors=True)  # it would be timed in part
    start, recipe = time.thread_time(), get_recipe("full", **BASE_FIELDS, epochs=IDEA_EPOCHS)
    some = data.val.take(np.arange(100))  # a test set that nothing reads
    with cpu_threads(1):
        retrain(*(entry.build_arch(), data, lambda: some, recipe, 0, folder), device=CPU, threads=1)
        keep_logits(folder, data, CPU)
    if not seconds.exists():
        write_json(seconds, time.thread_time() - start)
    teacher = read_teacher(folder)
    assert teacher is not None
    return teacher, json.loads(seconds.read_text())


def _train_rate(job: Job, data_dir: Path) -> dict[str, Any]:
    data = _fashion_mnist(data_dir)
    whole = get_recipe("full", **BASE_FIELDS, epochs=RATE_EPOCHS, learning_rate=float(job.recipe))
    recipe = ShortRuns(len(data.train), len(data.val)).recipe(whole)
    network = build(idea_networks()[job.network], data.info, job.seed)
    trainer = Trainer(network, data, recipe, seed=job.seed, device=CPU, threads=1)
    start = time.thread_time()
    try:
        seconds, losses = _finish(trainer)
    except Diverged:  # counts as the worst of all, as in a retraining
        return {"accuracy": 0.0, "seconds": time.thread_time() - start, "losses": []}
    return {"accuracy": trainer.evaluate(), "seconds": seconds, "losses": losses}


@cache
def recorded_grids() -> dict[str, dict[str, float]]:
    """Validation accuracies of whole trainings by learning rate, of networks of `idea_networks`."""
    choices = json.loads((FRONT.parent / CHOICES).read_text())
    by_id = {arch_id: name for name, arch_id in NETWORKS.items()}
    return {
        f"{kind}, {by_id[choices[family]['network'].split('-')[-1]]}": choices[family][
            "val_accuracy"
        ]
        for family, kind in ((SEARCHED, "DCT"), (TWIN, "pointwise"))
    }


def _finish(trainer: Trainer) -> tuple[float, list[float]]:
    """Train; returns the thread's seconds and the training losses of the epochs."""
    start, losses = time.thread_time(), []
    while trainer.epoch < trainer.recipe.epochs:
        losses.append(trainer.train_epoch())
    return time.thread_time() - start, losses


@cache
def networks() -> dict[str, Arch]:
    """The networks of `NETWORKS`."""
    by_id = {entry.arch_id: entry.build_arch() for entry in load_front(FRONT).architectures}
    return {name: by_id[arch_id] for name, arch_id in NETWORKS.items()}


@cache
def idea_networks() -> dict[str, Arch]:
    """The DCT networks and their equal-cost pointwise twins."""
    info = load_front(FRONT).dataset_info()
    both: dict[str, Arch] = {}
    for name, arch in networks().items():
        twin = equal_cost_twin(arch, info)
        assert twin is not None
        both |= {f"DCT, {name}": arch, f"pointwise, {name}": twin}
    return both


@cache
def _idea_data(data_dir: Path) -> SearchData:
    data = _fashion_mnist(data_dir)
    order = np.random.default_rng(0).permutation(len(data.train))
    some, others = order[:IDEA_IMAGES], order[-HELD_OUT:]
    return replace(data, train=data.train.take(some), val=data.train.take(others))


@cache
def _fashion_mnist(data_dir: Path) -> SearchData:
    data = load_search_data("fashion-mnist", data_dir, download=False)
    return replace(data, info=replace(data.info, crop=BASE_CROP, flip=BASE_FLIP))


def _digits(data_dir: Path) -> tuple[SearchData, Split]:
    data = load_search_data("digits", data_dir)
    return _fewer(data, 200, 50), load_test_data("digits", data_dir)


def _fashion(data_dir: Path) -> tuple[SearchData, Split]:
    data = _fashion_mnist(data_dir)
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


TRAIN = {
    "small": _train_small,
    "ideas": _train_idea,
    "long-ideas": _train_long_idea,
    "rates": _train_rate,
}
SMALL = {"digits": _digits, "fashion-mnist": _fashion, "photographs": _photographs}


@cache
def small_data(name: str, data_dir: Path) -> tuple[SearchData, Split]:
    """A data set of `SMALL` and its test set."""
    return SMALL[name](data_dir)


def setting() -> dict[str, Any]:
    """What all rows share."""
    return {
        "networks": NETWORKS,
        "full": get_recipe("full", **BASE_FIELDS).model_dump(mode="json"),
        "ideas": {"images": IDEA_IMAGES, "epochs": IDEA_EPOCHS, "held_out": HELD_OUT},
        "torch": torch.__version__,
    }
