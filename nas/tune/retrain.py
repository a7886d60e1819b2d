"""A retraining from a front to its files: what is chosen, its references, a summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nas.data import DatasetInfo, load_search_data, load_test_data
from nas.report.comparison_plots import write_figure
from nas.report.study_folder import refresh_report
from nas.retrain.comparison import SUMMARY, summarise
from nas.retrain.learning_rate import choose_rates, own_recipe
from nas.retrain.references import NetworkSpec, network_specs
from nas.retrain.select import select
from nas.study.front_file import load_front
from nas.study.plan import require_gpu_share, require_reachable
from nas.study.resources import ClusterResources
from nas.training import Recipe
from nas.training.full import require_settings
from nas.tune.training_pool import (
    Failed,
    Outcome,
    Run,
    Show,
    Training,
    choose_pool,
    workers,
)

MAX_SEEDS = 100
MAX_RATES = 10
MAX_CONCURRENCY = 1024


@dataclass(frozen=True)
class RetrainRequest:
    """What is to be retrained, and how."""

    front: Path  # a front.json
    select: str
    recipe: Recipe
    learning_rates: tuple[float, ...]  # each family takes the best; none: its own or the recipe's
    seeds: int  # each network is trained with seeds 0, 1, ...
    references: tuple[str, ...]  # see `nas.retrain.references.contenders`
    export: tuple[str, ...]  # formats
    concurrency: int | None  # trainings at a time; None: one on each GPU, or on each core
    threads: int | None  # of each training; None: its share of the cores
    data_dir: Path
    ray_address: str | None = None  # None: this machine
    gpus: float | None = None  # of each training; None: its share of them


@dataclass(frozen=True)
class Retrained:
    """What came of a retraining."""

    metrics: list[dict[str, Any]]  # of each network and seed, with its `folder`
    summary: dict[str, Any] | None  # see `nas.retrain.comparison.summarise`
    notes: list[str]  # references that there are not
    failures: list[str]  # trainings that brought no network, and why
    files: list[Path]


class View(Protocol):
    """What shows the trainings while they run."""

    def expect(self, trainings: int, work: int) -> None:
        """So many trainings follow, of so many multiply-adds an image and epoch in all."""

    def add(self, name: str, epochs: int, macs: int) -> Show:
        """A training starts: its epochs, and multiply-adds of one image."""


def retrain_front(
    wanted: RetrainRequest,
    find: Callable[[], ClusterResources],
    show: Callable[[], AbstractContextManager[View]],
) -> Retrained:
    """Train everything that is wanted in `retrained/NAME/`, or `NAME/seed-K/` after the first.

    What is finished is not trained again; what was interrupted continues. The summary, its
    figure and the study's report are written at the end. A training that diverges, runs out
    of memory or loses its worker again and again does not keep the others from going on.

    Args:
        wanted: what is retrained, and how.
        find: tells what trainings run on; called when all else is known to be right.
        show: makes the view that is open while trainings run.

    Raises:
        ValueError: one line that says what is wrong.
    """
    _require_ranges(wanted)
    front = load_front(wanted.front)
    chosen = [entry.build_arch() for entry in select(front, wanted.select)]
    info = front.dataset_info()
    networks, notes = network_specs(chosen, wanted.references, info)
    data = load_search_data(info.name, wanted.data_dir, **info.reading())
    if data.info.fingerprint != info.fingerprint:
        raise ValueError(
            f"front file {wanted.front}: its data set {info.name} is another one "
            f"({info.fingerprint}) than the one found here ({data.info.fingerprint})"
        )
    test = load_test_data(info.name, wanted.data_dir, **info.reading())  # or refused by now
    home = wanted.front.parent / "retrained"
    for network in networks:
        recipe = wanted.recipe
        if not wanted.learning_rates:
            recipe = own_recipe(network.family, recipe)
        for seed in range(wanted.seeds):
            require_settings(
                *(network.network, info, recipe, seed, _folder(home, network, seed)),
                learning_rates=wanted.learning_rates,
            )
    most = max(len(networks) * wanted.seeds, len(wanted.learning_rates))
    pool = choose_pool(
        find(),
        most,
        address=wanted.ray_address,
        concurrency=wanted.concurrency,
        gpus=wanted.gpus,
        threads=wanted.threads,
    )
    try:
        with show() as view, workers(data, lambda: test, pool) as run:
            work = _Work(run, view, info)
            recipes = choose_rates(
                networks, wanted.recipe, wanted.learning_rates, home, info, work.validate
            )
            trainings = [
                _training(network, recipes[network.family], seed, home, info, wanted.export)
                for seed in range(wanted.seeds)  # every network once before any one twice
                for network in networks
            ]
            outcomes = work.run(trainings)
    finally:  # after an interruption too, of what is finished
        summary = summarise(front, home, wanted.recipe)
        files = [] if summary is None else [home / SUMMARY, write_figure(summary, home)]
    try:
        if report := refresh_report(wanted.front.parent, front.study):
            files.append(report)
    except ValueError as error:  # the networks are what was asked for
        notes.append(f"the study's report was not written: {error}")
    metrics = [
        {"folder": str(training.folder)} | outcome
        for training, outcome in zip(trainings, outcomes, strict=True)
        if not isinstance(outcome, Failed)
    ]
    failures = [str(outcome) for outcome in outcomes if isinstance(outcome, Failed)]
    return Retrained(metrics, summary, notes, failures, files)


def _require_ranges(wanted: RetrainRequest) -> None:
    if not 1 <= wanted.seeds <= MAX_SEEDS:
        raise ValueError(f"--seeds {wanted.seeds}: accepted: 1 to {MAX_SEEDS}")
    if wanted.threads is not None and not 1 <= wanted.threads <= 1024:
        raise ValueError(f"--threads {wanted.threads}: accepted: 1 to 1024")
    if wanted.concurrency is not None and not 1 <= wanted.concurrency <= MAX_CONCURRENCY:
        raise ValueError(f"--concurrency {wanted.concurrency}: accepted: 1 to {MAX_CONCURRENCY}")
    require_gpu_share(wanted.gpus)
    require_reachable(wanted.ray_address)
    if len(wanted.learning_rates) > MAX_RATES:
        raise ValueError(f"--learning-rate: accepted: at most {MAX_RATES} by commas")
    if wanted.export:
        from nas.deploy.export import require_format

        for name in wanted.export:
            require_format(name)


def _training(
    network: NetworkSpec,
    recipe: Recipe,
    seed: int,
    home: Path,
    info: DatasetInfo,
    export: tuple[str, ...],
) -> Training:
    labels: dict[str, Any] = {
        "network": network.name,
        "family": network.family,
        "of": network.of,
        "learning_rate": recipe.learning_rate,
    }
    return Training(
        f"{network.name} seed {seed}",
        network.network,
        recipe,
        seed,
        _folder(home, network, seed),
        network.macs(info),
        labels,
        export,
    )


def _folder(home: Path, network: NetworkSpec, seed: int) -> Path:
    return home / network.name if seed == 0 else home / network.name / f"seed-{seed}"


class _Work:
    """Runs trainings and shows them."""

    def __init__(self, run: Run, view: View, info: DatasetInfo) -> None:
        self._run, self._view, self._info = run, view, info

    def run(self, trainings: Sequence[Training]) -> list[Outcome]:
        work = sum(one.macs * one.recipe.epochs for one in trainings)
        self._view.expect(len(trainings), work)
        return self._run(
            trainings, lambda one: self._view.add(one.name, one.recipe.epochs, one.macs)
        )

    def validate(self, wanted: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float]:
        """Accuracies of trainings with seed 0, the test set left alone; 0 for one that fails."""
        trainings = [
            Training(
                name=f"{one.name} at {recipe.learning_rate:g}",
                network=one.network,
                recipe=recipe,
                seed=0,
                folder=folder,
                macs=one.macs(self._info),
                labels=None,
            )
            for one, recipe, folder in wanted
        ]
        outcomes = self.run(trainings)
        return [0.0 if isinstance(one, Failed) else float(one["val_accuracy"]) for one in outcomes]
