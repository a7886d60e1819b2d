"""Retraining: networks of a front and their references are trained in full and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nas.data import DatasetInfo, load_test_data
from nas.format import format_number
from nas.report.page import write_comparison
from nas.report.study_folder import refresh_report
from nas.retrain.choose_teacher import choose_teacher
from nas.retrain.comparison import SUMMARY, summarise
from nas.retrain.front_data import load_front_data
from nas.retrain.next_steps import recipe_options
from nas.retrain.recipes import NetworkRecipes
from nas.retrain.references import NetworkSpec, network_specs
from nas.retrain.select import select
from nas.retrain.short_run import ShortRuns
from nas.study.front_file import load_front
from nas.study.resources import ClusterResources, require_gpu_share, require_reachable
from nas.training import Recipe
from nas.training.distillation import Teacher
from nas.training.folder import require_settings
from nas.training.small_data import adapt
from nas.training.teacher import read_teacher
from nas.tune.training import Failed, Outcome, RunTrainings, Training, TrainingView
from nas.tune.training_pool import choose_pool
from nas.tune.training_runner import training_runner

MAX_SEEDS = 100
MAX_RATES = 10
MAX_CONCURRENCY = 1024


@dataclass(frozen=True)
class RetrainRequest:
    """What to retrain, and how."""

    front: Path  # a front.json
    select: str | None
    recipe: Recipe
    learning_rates: tuple[float, ...]  # each family takes the best; none: its own or the recipe's
    seeds: int  # each network is trained with the seeds 0, 1, ..., seeds - 1
    references: tuple[str, ...]  # see `nas.retrain.references.network_specs`
    export: tuple[str, ...]  # formats
    concurrency: int | None  # trainings at the same time; None: one for each GPU, or core
    threads: int | None  # of each training; None: its share of the cores
    data_dir: Path
    ray_address: str | None = None  # None: this machine
    gpus: float | None = None  # of each training; None: its share of the GPUs
    storage: str | None = None  # of the study, whose report follows; None: beside the front
    adapted: tuple[str, ...] = ()  # fields of the recipe that few images may change
    auto_rate: bool = False  # whether short runs choose the learning rate of each family
    teacher: bool = False  # whether the most accurate network is trained first and teaches others
    fine_tune_int8: bool = (
        False  # whether exported int8 files that lose over a point are fine-tuned
    )

    @property
    def home(self) -> Path:
        """The folder of the networks' folders."""
        return self.front.parent / "retrained"


@dataclass(frozen=True)
class Retrained:
    """The result of a retraining."""

    metrics: list[dict[str, Any]]  # of each network and seed, with its `folder`
    summary: dict[str, Any] | None  # see `nas.retrain.comparison.summarise`
    notes: list[str]  # where test images are from, references that do not exist
    failures: list[str]  # trainings that produced no network, and why
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
    require_ranges(request)
    front = load_front(request.front)
    asked = request.recipe
    metric = {"metric": Recipe.model_validate(front.recipe).metric}  # what the search optimised
    request = replace(request, recipe=request.recipe.model_copy(update=metric))
    selected = select(front, request.select)
    info = front.dataset_info()
    archs = [entry.build_arch() for entry in selected]
    asked_for, notes = network_specs(archs, request.references, info)
    data, changes = load_front_data(front, request.front, request.data_dir)
    notes += changes
    test = load_test_data(info.name, request.data_dir, **info.reading())  # or refused by now
    if "test" in data.notes.origin:
        notes.append(f"{format_number(len(test), 'test image')}: {data.notes.origin['test']}")
    home = request.home
    adapted = adapt(request.recipe, len(data.train), request.adapted)
    teacher = choose_teacher(selected, asked_for, home, adapted) if request.teacher else None
    if request.teacher and teacher is None:
        notes.append("--teacher: a single network is trained, so none learns from another")
    groups = [asked_for] if teacher is None else _teacher_first(teacher, asked_for)
    networks = [network for group in groups for network in group]
    seeds = {network.name: request.seeds for network in asked_for}  # the teacher has one at least
    recipes = NetworkRecipes(
        *(request.recipe, request.learning_rates, request.adapted, front, len(data.train)),
        networks=networks,
        teacher=teacher.name if teacher else None,
        short=ShortRuns(len(data.train), adapted.evaluated(data.val))
        if request.auto_rate
        else None,
    )
    for network in networks:
        for seed in range(seeds.get(network.name, 1)):
            folder = _folder(home, network, seed)
            accepted = recipes.accepted(network, home)
            require_settings(network.network, info, accepted, seed, folder)
    max_trainings = max(len(networks) * request.seeds, len(request.learning_rates))
    pool = choose_pool(
        find(),
        max_trainings,
        address=request.ray_address,
        concurrency=request.concurrency,
        gpus=request.gpus,
        threads=request.threads,
    )
    try:
        with show() as view, training_runner(data, lambda: test, pool) as run:
            for line in [*changes, *recipes.notes()]:
                view.say(line)
            work = _Work(run, view, info)
            families = recipes.choose_rates(home, info, work.validate)
            outcomes: list[tuple[Training, Outcome]] = []
            for group in groups:
                chosen = recipes.choose(group, families, home, work.validate)
                outcomes += work.train(
                    [
                        _training(network, chosen[network.name], seed, home, info, request)
                        for seed in range(request.seeds)  # each network once before a second seed
                        for network in group
                        if seed < seeds.get(network.name, 1)
                    ],
                    teaches=group == [teacher],
                )
                if group == [teacher] and work.teacher is None:
                    break  # it failed: there are no logits to learn from
    finally:  # also after an interruption
        options = recipe_options(
            asked, request.learning_rates, auto_rate=request.auto_rate, teacher=request.teacher
        )
        summary = summarise(front, home, recipes.compared, options)
        files = [] if summary is None else [home / SUMMARY, write_comparison(summary, home)]
    notes += recipes.notes()
    try:
        if report := refresh_report(request.front.parent, front.study, request.storage):
            files.append(report)
    except ValueError as error:  # the networks are there all the same
        notes.append(f"the study's report was not written: {error}")
    metrics = [
        {"folder": str(training.folder)} | outcome
        for training, outcome in outcomes
        if not isinstance(outcome, Failed)
    ]
    failures = [str(outcome) for _, outcome in outcomes if isinstance(outcome, Failed)]
    if teacher is not None and len(outcomes) < sum(seeds.get(one.name, 1) for one in networks):
        failures.append(
            f"the other networks: not trained, for want of their teacher {teacher.name}"
        )
    return Retrained(metrics, summary, notes, failures, files)


def require_ranges(request: RetrainRequest) -> None:
    """Raise ValueError for a number or a format that is not accepted."""
    if not 1 <= request.seeds <= MAX_SEEDS:
        raise ValueError(f"--seeds {request.seeds}: accepted: 1 to {MAX_SEEDS}")
    if request.threads is not None and not 1 <= request.threads <= 1024:
        raise ValueError(f"--threads {request.threads}: accepted: 1 to 1024")
    if request.concurrency is not None and not 1 <= request.concurrency <= MAX_CONCURRENCY:
        raise ValueError(f"--concurrency {request.concurrency}: accepted: 1 to {MAX_CONCURRENCY}")
    require_gpu_share(request.gpus)
    require_reachable(request.ray_address)
    if request.teacher and len(request.learning_rates) > 1:
        raise ValueError(
            "--learning-rate: several rates, each a whole training, and --teacher; accepted: one "
            "rate, or auto"
        )
    if len(request.learning_rates) > MAX_RATES:
        raise ValueError(f"--learning-rate: accepted: at most {MAX_RATES} by commas")
    if request.export or request.fine_tune_int8:
        from nas.deploy.export import INT8_FORMATS, require_format

        for name in request.export:
            require_format(name)
        if request.fine_tune_int8 and not set(INT8_FORMATS) & set(request.export):
            raise ValueError(
                "--fine-tune-int8: no int8 file is exported; accepted: with --export of "
                + " or ".join(INT8_FORMATS)
            )


def _teacher_first(
    teacher: NetworkSpec, networks: Sequence[NetworkSpec]
) -> list[list[NetworkSpec]]:
    """The teacher, also where an earlier call trained it, and the networks that learn from it."""
    others = [one for one in networks if one.name != teacher.name]
    return [[teacher], others] if others else [[teacher]]


def _training(
    network: NetworkSpec,
    recipe: Recipe,
    seed: int,
    home: Path,
    info: DatasetInfo,
    request: RetrainRequest,
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
        request.export,
        request.fine_tune_int8,
    )


def _folder(home: Path, network: NetworkSpec, seed: int) -> Path:
    return home / network.name if seed == 0 else home / network.name / f"seed-{seed}"


class _Work:
    """Runs trainings and reports them to the view."""

    def __init__(self, run: RunTrainings, view: RetrainView, info: DatasetInfo) -> None:
        self._run, self._view, self._info = run, view, info
        self.teacher: Teacher | None = None  # of the recipes that name it

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
        first, *others = trainings
        trainings = [replace(first, teaches=teaches), *others]
        outcomes = self.run(trainings)
        if teaches and not isinstance(outcomes[0], Failed):
            self.teacher = read_teacher(first.folder)
        return list(zip(trainings, outcomes, strict=True))

    def validate(self, candidates: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float]:
        """Validation accuracies of trainings with seed 0; 0.0 for a training that fails."""
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
        outcomes = self.run(trainings)
        return [0.0 if isinstance(one, Failed) else float(one["val_accuracy"]) for one in outcomes]
