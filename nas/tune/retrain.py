"""Retraining: networks of a front and their references are trained in full and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nas.data import DatasetInfo
from nas.report.page import write_comparison
from nas.report.study_folder import refresh_report
from nas.retrain.comparison import SUMMARY, summarise
from nas.retrain.next_steps import recipe_options
from nas.retrain.references import NetworkSpec
from nas.study.resources import ClusterResources
from nas.training import Recipe
from nas.training.distillation import Teacher
from nas.training.teacher import read_teacher
from nas.tune.retrain_request import ResolvedRequest, RetrainRequest, resolve
from nas.tune.training import Failed, Outcome, RunTrainings, Training, TrainingView
from nas.tune.training_pool import choose_pool
from nas.tune.training_runner import training_runner


@dataclass(frozen=True)
class Retrained:
    """The result of a retraining."""

    metrics: list[dict[str, Any]]  # of each network and seed, with its `folder`
    summary: dict[str, Any] | None  # see `nas.retrain.comparison.summarise`
    notes: list[str]  # where test images are from, references that do not exist
    failures: list[str]  # trainings that failed and networks that were not exported, and why
    files: list[Path]


class RetrainView(Protocol):
    """The view of all trainings."""

    def say(self, line: str) -> None:
        """Show a line above the trainings."""

    def expect(self, trainings: int, work: int) -> None:
        """Announce the number of trainings and their work, multiply-adds x epochs, in total."""

    def add(self, name: str, epochs: int, macs: int) -> TrainingView:
        """Open the view of a training that starts; `macs`: of one image."""


def retrain_front(
    request: RetrainRequest,
    find: Callable[[], ClusterResources],
    show: Callable[[], AbstractContextManager[RetrainView]],
) -> Retrained:
    """Train the requested networks in `retrained/NAME/`, further seeds in `NAME/seed-K/`.

    Finished trainings are kept and interrupted ones continue. The summary, its figure and the
    study's report are written at the end. The others go on when a training diverges, runs out
    of memory, or loses its worker `nas.tune.searcher.MAX_ATTEMPTS` times.

    Args:
        request: what to retrain, and how.
        find: finds the resources; called after all other checks.
        show: makes the view, which is open while trainings run.

    Raises:
        ValueError: one line that says what is wrong.
    """
    resolved = resolve(request)
    recipes, home = resolved.recipes, request.home
    pool = choose_pool(
        find(),
        resolved.most_at_once,
        address=request.ray_address,
        concurrency=request.concurrency,
        gpus=request.gpus,
        threads=request.threads,
    )
    try:
        with show() as view, training_runner(resolved.data, lambda: resolved.test, pool) as run:
            for line in [*resolved.changes, *recipes.notes()]:
                view.say(line)
            work = _Work(run, view, resolved.info)
            outcomes = _train(resolved, work)
    finally:  # also after an interruption
        options = recipe_options(
            *(request.recipe, request.learning_rates),
            adapted=request.adapted,
            auto_rate=request.auto_rate,
            teacher=request.teacher,
        )
        if request.data_dir != Path("data"):
            options += ["--data-dir", str(request.data_dir)]
        summary = summarise(resolved.front, home, recipes.compared, options)
        files = [] if summary is None else [home / SUMMARY, write_comparison(summary, home)]
    notes = [*resolved.notes, *recipes.notes()]
    try:
        if report := refresh_report(request.front.parent, resolved.front.study, request.storage):
            files.append(report)
    except ValueError as error:  # the networks are there all the same
        notes.append(f"the study's report was not written: {error}")
    metrics = [
        {"folder": str(training.folder)} | outcome
        for training, outcome in outcomes
        if not isinstance(outcome, Failed)
    ]
    failures = [*work.failures]
    failures += [str(outcome) for _, outcome in outcomes if isinstance(outcome, Failed)]
    failures += [
        f"{training.name}: not exported: {outcome['export_failed']}"
        for training, outcome in outcomes
        if not isinstance(outcome, Failed) and "export_failed" in outcome
    ]
    teacher = resolved.teacher
    if teacher is not None and work.teacher is None and len(resolved.groups) > 1:
        failures.append(
            f"the other networks: not trained, for want of their teacher {teacher.name}"
        )
    return Retrained(metrics, summary, notes, failures, files)


def _train(resolved: ResolvedRequest, work: _Work) -> list[tuple[Training, Outcome]]:
    """Train one group after the other; none learns from a teacher whose training has failed."""
    recipes, home, info = resolved.recipes, resolved.request.home, resolved.info
    families = recipes.choose_rates(home, info, work.validate)
    outcomes: list[tuple[Training, Outcome]] = []
    for networks in resolved.groups:
        group = [one for one in networks if one.family in families]
        work.failures += [
            f"{one.name}: not trained, for want of a learning rate"
            for one in networks
            if one.family not in families
        ]
        chosen = recipes.choose(group, families, home, work.validate)
        teaches = networks == [resolved.teacher]
        outcomes += work.train(
            [
                _training(network, chosen[network.name], seed, info, resolved.request)
                for seed in range(resolved.request.seeds)  # each network once before a second seed
                for network in group
                if network.name in chosen
                if seed < resolved.seeds[network.name]
            ],
            teaches=teaches,
        )
        if teaches and work.teacher is None:
            break
    return outcomes


def _training(
    network: NetworkSpec, recipe: Recipe, seed: int, info: DatasetInfo, request: RetrainRequest
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
        request.folder(network, seed),
        network.macs(info),
        labels,
        request.export,
        request.fine_tune_int8,
    )


class _Work:
    """Runs trainings and reports them to the view."""

    def __init__(self, run: RunTrainings, view: RetrainView, info: DatasetInfo) -> None:
        self._run, self._view, self._info = run, view, info
        self.teacher: Teacher | None = None  # of the recipes that name it
        self.failures: list[str] = []  # of trainings that were to decide on a recipe, and why

    def run(self, trainings: Sequence[Training]) -> list[Outcome]:
        trainings = [
            replace(one, teacher=self.teacher) if one.recipe.teacher else one for one in trainings
        ]
        work = sum(one.macs * one.recipe.epochs for one in trainings)
        self._view.expect(len(trainings), work)
        return self._run(
            trainings, lambda one: self._view.add(one.name, one.recipe.epochs, one.macs)
        )

    def train(
        self, trainings: Sequence[Training], *, teaches: bool
    ) -> list[tuple[Training, Outcome]]:
        """Run trainings; if the first one `teaches`, its logits are kept for the later ones."""
        if not trainings:
            return []
        first, *others = trainings
        trainings = [replace(first, teaches=teaches), *others]
        outcomes = self.run(trainings)
        if teaches and not isinstance(outcomes[0], Failed):
            self.teacher = read_teacher(first.folder)
        return list(zip(trainings, outcomes, strict=True))

    def validate(
        self, candidates: Sequence[tuple[NetworkSpec, Recipe, Path]]
    ) -> list[float | None]:
        """Validation accuracies of trainings with seed 0, see `nas.retrain.learning_rate`."""
        if not candidates:
            return []
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
            for one, recipe, folder in candidates
        ]
        accuracies: list[float | None] = []
        for outcome in self.run(trainings):
            if not isinstance(outcome, Failed):
                accuracies.append(float(outcome["val_accuracy"]))
            elif outcome.diverged:
                accuracies.append(0.0)
            else:
                accuracies.append(None)
                self.failures.append(str(outcome))
        return accuracies
