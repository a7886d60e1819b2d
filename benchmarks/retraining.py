"""Full training: the recipe on few images, ideas for a better recipe, and learning rates.

Six parts, each a training a row. `small`: two networks of an earlier search on three data sets of
200 to 800 images, by the short schedule of a search, by the recipe `full`, and adapted. `ideas`:
networks of that search and their pointwise twins on 12,000 images of Fashion-MNIST, by the recipe
`full` for 6 epochs and with one thing changed; accuracy is of 20,000 other training images, so that
the test set decides nothing. Differences are paired by network and seed. `long-ideas`: the same on
the whole training split for 12 epochs, judged on the validation split, with the accuracy after each
epoch. The teacher is the most expensive network of the front, trained in the same way. `rates`: the
short runs that choose a learning rate for 20 epochs, beside the validation accuracies of whole
trainings at the same rates, which that search's retraining recorded for two networks. In these
parts the recipe is the form of `full` that averaged the weights, with crops and flips of
Fashion-MNIST.

The other two have today's recipe, and each row says which that was. `quick-ideas`: the recipe
without clipping and with one thing changed, in about the time of 7 epochs of the whole training
split, judged on the validation split. `lengths`: test accuracies of three networks and their twins
after 7 and 20 epochs, beside those that the earlier form had after 20.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.processes import in_processes
from benchmarks.retraining_data import (
    FRONT,
    NETWORKS,
    SMALL,
    fashion_mnist,
    idea_networks,
    networks,
    small_data,
    three_networks,
)
from benchmarks.retraining_ideas import BASE_FIELDS, IDEAS, QUICK_IDEAS, Idea, idea_trainer
from benchmarks.rows import RowFile
from nas.data import Batches, SearchData, load_search_data, load_test_data
from nas.data.splits import resize
from nas.files import write_json
from nas.progress import Progress, silent
from nas.retrain.learning_rate import CHOICES
from nas.retrain.references import SEARCHED, TWIN
from nas.retrain.short_run import ShortRuns
from nas.study.front_file import load_front
from nas.threads import cpu_threads
from nas.training import Diverged, Trainer, accuracy, build, get_recipe
from nas.training.distillation import Teacher
from nas.training.full import retrain
from nas.training.small_data import adapt
from nas.training.teacher import keep_logits, read_teacher

KEY = ("part", "data", "network", "recipe", "seed")
CPU = torch.device("cpu")

SHORT, FULL, ADAPTED = "short schedule", "full, as it is", "full, adapted"
RATES, RATE_EPOCHS = (0.05, 0.1, 0.2, 0.4, 0.8), 20  # of whole trainings
IDEA_IMAGES, IDEA_EPOCHS, HELD_OUT = 12_000, 6, 20_000
LONG_EPOCHS = 12
QUICK_NETWORKS = ("DCT, 1.0 M", "pointwise, 1.0 M")
QUICK_FIELDS = {"epochs": 7, "learning_rate": 0.8, "clip_norm": None}
LENGTHS, LENGTH_RATE = (7, 20), 0.4  # epochs


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
        if "quick-ideas" in parts:
            work += [
                Job("quick-ideas", "fashion-mnist", network, idea, seed)
                for idea in QUICK_IDEAS
                for network in QUICK_NETWORKS
            ]
        if "lengths" in parts:
            work += [
                Job("lengths", "fashion-mnist", network, f"{epochs} epochs", seed)
                for epochs in LENGTHS
                for network in three_networks()
            ]
    return work


def measure(
    work: Sequence[Job], file: RowFile, data_dir: Path, workers: int, progress: Progress = silent
) -> None:
    """Train what `file` lacks, in processes of one thread; each row is added as it finishes."""
    left = [job for job in work if job.key not in file]
    if any(job.part == "ideas" and IDEAS[job.recipe].taught for job in left):
        _teacher(data_dir)  # trained once, not in several processes
    ended = in_processes(partial(train, data_dir=data_dir), left, workers)
    for job, row in progress(ended, len(work), len(work) - len(left)):
        file.add(dict(zip(KEY, job.key, strict=True)) | row)


def train(job: Job, data_dir: Path) -> dict[str, Any]:
    """One training: the other values of its row."""
    return TRAIN[job.part](job, data_dir)


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
    data = fashion_mnist(data_dir)
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


def _train_quick_idea(job: Job, data_dir: Path) -> dict[str, Any]:
    data, idea = load_search_data("fashion-mnist", data_dir), QUICK_IDEAS[job.recipe]
    network = build(idea_networks()[job.network], data.info, job.seed)
    trainer = idea_trainer(
        idea, network, data, get_recipe("full", **(QUICK_FIELDS | idea.fields)), job.seed
    )
    return _history(trainer)


def _train_length(job: Job, data_dir: Path) -> dict[str, Any]:
    data = load_search_data("fashion-mnist", data_dir)
    recipe = get_recipe("full", epochs=int(job.recipe.split()[0]), learning_rate=LENGTH_RATE)
    network = build(three_networks()[job.network], data.info, job.seed)
    trainer = Trainer(network, data, recipe, seed=job.seed, device=CPU, threads=1)
    row = _history(trainer)
    if row["accuracy"]:
        test = load_test_data("fashion-mnist", data_dir)
        row["test_accuracy"] = accuracy(trainer.evaluated, Batches(test, data.info, 500, CPU))
    return row


def _history(trainer: Trainer) -> dict[str, Any]:
    """Train to the end: after each epoch the thread's seconds and the validation accuracy.

    `accuracy` is that of the end, 0 where the training diverged.
    """
    schedule = trainer.recipe.model_dump(mode="json")
    seconds, history = 0.0, list[list[float]]()
    while trainer.epoch < trainer.recipe.epochs:
        start = time.thread_time()
        try:
            trainer.train_epoch()
        except Diverged:
            return {"accuracy": 0.0, "seconds": seconds, "history": history, "schedule": schedule}
        seconds += time.thread_time() - start
        history.append([seconds, trainer.evaluate()])
    return {
        "accuracy": history[-1][1],
        "seconds": seconds,
        "history": history,
        "schedule": schedule,
    }


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
    data = fashion_mnist(data_dir)
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


TRAIN = {
    "small": _train_small,
    "ideas": _train_idea,
    "long-ideas": _train_long_idea,
    "rates": _train_rate,
    "quick-ideas": _train_quick_idea,
    "lengths": _train_length,
}


@cache
def _idea_data(data_dir: Path) -> SearchData:
    data = fashion_mnist(data_dir)
    order = np.random.default_rng(0).permutation(len(data.train))
    some, others = order[:IDEA_IMAGES], order[-HELD_OUT:]
    return replace(data, train=data.train.take(some), val=data.train.take(others))


def setting() -> dict[str, Any]:
    """What all rows share."""
    return {
        "networks": NETWORKS,
        "full": get_recipe("full", **BASE_FIELDS).model_dump(mode="json"),
        "ideas": {"images": IDEA_IMAGES, "epochs": IDEA_EPOCHS, "held_out": HELD_OUT},
        "torch": torch.__version__,
    }
