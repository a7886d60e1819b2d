"""The Python interface: a search in this process, on images or with a training of your own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import BaseStorage

from nas.data import DatasetInfo, SearchData
from nas.progress import Meter
from nas.space.arch import Arch
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.stopping.right_images import encode
from nas.stopping.rule import TrialCurve, decide, rungs
from nas.study.begin import begin
from nas.study.choose_sampler import choose_sampler, effective_sampler, require_used
from nas.study.config import StudyConfig
from nas.study.front import front
from nas.study.front_file import FrontFile, front_file
from nas.study.location import StudyLocation, find_study
from nas.study.measurement import Measurement
from nas.study.objectives import Objectives
from nas.study.sharing import update_sharing
from nas.study.sources import StudySource, find_sources, store_sources
from nas.study.storage.engine import open_storage
from nas.study.storage.lock import lock_study
from nas.study.study import Candidate, SearchStudy
from nas.study.trial_curves import known_costs, trial_curves
from nas.study.try_first import usable
from nas.threads import cpu_threads
from nas.training import Diverged, Recipe, Trainer, build, default_recipe

DIVERGED = "diverged"

Train = Callable[[Arch, int], Iterable[tuple[int, float]]]
"""Trains an architecture with a seed, and gives (epoch, accuracy) whenever it evaluates.

Epochs count from 1 and grow, up to the last epoch of the recipe; an accuracy is a fraction from
0 to 1 on the validation split. An accuracy that is not a finite number, and an exception
`nas.training.Diverged`, fail the trial.
"""

_KINDS: dict[str, tuple[type, ...]] = {
    "space": (SearchSpace,),
    "data": (SearchData, DatasetInfo),
    "budget": (int,),
    "recipe": (Recipe, type(None)),
    "objectives": (Objectives, type(None)),
    "limits": (Limits, type(None)),
    "seed": (int,),
    "max_failures": (int,),
    "threads": (int,),
}
_LEAST = {"budget": 1, "threads": 1, "max_failures": 0, "seed": 0}


def run_search(
    space: SearchSpace,
    data: SearchData | DatasetInfo,
    budget: int,
    *,
    train: Train | None = None,
    recipe: Recipe | None = None,
    objectives: Objectives | None = None,
    limits: Limits | None = None,
    quantized: bool = False,
    sampler: str = "known-cost",
    sources: Iterable[str] = (),
    source_front: bool = True,
    first: Iterable[Arch] = (),
    seed: int = 0,
    max_failures: int = 10,
    storage: str | None = None,
    name: str = "search",
    threads: int = 1,
    quiet: bool = False,
) -> FrontFile:
    """Search for the networks with the best accuracy at each cost, one trial after another.

    Trials run in this process. `nas search` runs many at once, on one machine or on a
    cluster; the rule for stopping early and what a study holds are the same. With a `storage`
    the same call continues a study, and the report and the dashboard show it.

    Args:
        space: the architectures to choose from.
        data: images from `nas.data.from_arrays` or `load_search_data`; with `train`, what is
            known of the data set is enough.
        budget: distinct architectures over the life of the study.
        train: a training of your own, see `Train`.
        recipe: of the training; by default the short one for this kind of data. With `train`
            it must be given, since its `epochs` say when a trial is complete.
        objectives: accuracy and multiply-adds by default.
        limits: the most that an architecture may cost; none by default.
        quantized: accuracies are those of the networks in int8; not with `train`.
        sampler: one of `nas.study.choose_sampler.SAMPLERS`.
        sources: earlier studies that inform the sampler `known-cost`: names in the same
            `storage` or in `results/`, folders, or URLs of databases.
        source_front: try the fronts of `sources` first; False: begin with a spread over the space.
        first: architectures to train first; those outside of the space or over a limit are
            left out.
        seed: of the sampler and of every training.
        max_failures: trials that may diverge; one more ends the search.
        storage: URL of a database, as in `sqlite:////absolute/path.db`; in memory by default.
        name: of the study.
        threads: CPU threads of this project's training. With the default the result depends
            on `seed` alone, not on the cores of the machine.
        quiet: show no progress on standard error.

    Returns:
        The Pareto front, with everything that retraining needs.

    Raises:
        StudyLocked: another process works on the study.
        ValueError: an argument is not accepted, the study has another configuration, or
            `train` gave something that is not accepted; the trial is then queued again.
        nas.training.Diverged: more trials than `max_failures` did.
    """
    _check_arguments({
        "space": space, "data": data, "budget": budget, "recipe": recipe, "seed": seed,
        "objectives": objectives, "limits": limits, "quantized": quantized,
        "max_failures": max_failures, "threads": threads,
    })  # fmt: skip
    info = data.info if isinstance(data, SearchData) else data
    if train is not None and recipe is None:
        raise ValueError("recipe: none; accepted: with `train` one whose epochs are the training's")
    if train is not None and quantized:
        raise ValueError("quantized: accuracies are what `train` gives; accepted: without `train`")
    recipe = recipe or default_recipe(info.name, torch.cuda.is_available())
    working_threads = cpu_threads(threads) if train is None else nullcontext()
    if train is None:
        if not isinstance(data, SearchData):
            raise ValueError("data: no images, and no `train`; accepted: SearchData, or a function")
        train = _Training(data, recipe, quantized)
    config = _config(space, data, recipe, objectives, limits, quantized)
    images = recipe.evaluated(data.val) if isinstance(data, SearchData) else None
    with _lock(storage, name), working_threads:
        earlier = _sources(sources, sampler, config, storage, name)
        with _database(storage) as database:
            chosen = (sampler, earlier, source_front)
            study = _open(config, *chosen, budget, seed, images, database, name)
            study.try_first(usable(list(first), config))
            with nullcontext() if quiet else Meter(name, budget, study.counted) as meter:
                _run_trials(study, train, images, max_failures, meter)
            sharing = update_sharing(study.study, config, seed, images)
            return front_file(name, config, front(study.study, config), sharing)


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise ValueError for an argument of `run_search` of another type, or too small a number."""
    for what, kinds in _KINDS.items():
        value = arguments[what]
        if not isinstance(value, kinds) or isinstance(value, bool):
            accepted = " or ".join(kind.__name__ for kind in kinds).replace("NoneType", "None")
            raise ValueError(f"{what}: {type(value).__name__} {value!r:.40}; accepted: {accepted}")
    for what, least in _LEAST.items():
        if arguments[what] < least:
            raise ValueError(f"{what}: {arguments[what]}; accepted: {least} or more")
    if not isinstance(arguments["quantized"], bool):
        raise ValueError(f"quantized: {arguments['quantized']!r:.40}; accepted: True or False")


def _config(
    space: SearchSpace,
    data: SearchData | DatasetInfo,
    recipe: Recipe,
    objectives: Objectives | None,
    limits: Limits | None,
    quantized: bool,
) -> StudyConfig:
    """The configuration of the study; arguments as of `run_search`.

    Raises:
        ValueError: latency is an objective or limited, or no architecture is within the limits.
    """
    objectives = objectives or Objectives(("accuracy", "macs"))
    if len(objectives.known) < len(objectives.costs):
        raise ValueError(
            f"objectives: {','.join(objectives.names)}; accepted: costs that are known before "
            "training; nas search measures latency"
        )
    limits = limits or Limits()
    if limits.max_latency is not None:
        raise ValueError(
            f"limits: max_latency={limits.max_latency:g}; accepted: limits that are known before "
            "training; nas search measures latency"
        )
    info, splits = (data.info, data.record) if isinstance(data, SearchData) else (data, None)
    limits.require_reachable(space, info.image_size, info.in_channels, info.num_classes)
    return StudyConfig(space, info, recipe, objectives, limits, splits=splits, quantized=quantized)


class _Training:
    """The training of this project, evaluated at the rungs of the rule for stopping early."""

    losses: list[float]  # of the present trial, as are the bits of `right`
    right: list[tuple[int, str]]

    def __init__(self, data: SearchData, recipe: Recipe, quantized: bool) -> None:
        self._data, self._recipe, self._quantized = data, recipe, quantized
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, arch: Arch, seed: int) -> Iterator[tuple[int, float]]:
        self.losses, self.right = [], []
        network = build(arch, self._data.info, seed)
        trainer = Trainer(
            *(network, self._data, self._recipe),
            seed=seed,
            device=self._device,
            quantized=self._quantized,
        )
        for rung in rungs(self._recipe.epochs):
            while trainer.epoch < rung:
                self.losses.append(trainer.train_epoch())
            accuracy = trainer.evaluate()
            self.right.append((rung, encode(trainer.right)))
            yield rung, accuracy


def _run_trials(
    study: SearchStudy, train: Train, images: int | None, max_failures: int, meter: Meter | None
) -> None:
    """Train until the study asks for nothing more, or too many trials diverge."""
    while (candidate := study.ask()) is not None:
        try:
            _run(study, candidate, train, images)
        except Diverged:
            study.fail(candidate.number, DIVERGED)
            if study.failures.total() > max_failures:
                raise
        except BaseException:
            study.interrupt(candidate.number)
            raise
        else:
            if meter is not None:
                meter.ended()


def _run(
    study: SearchStudy,
    candidate: Candidate,
    train: Train,
    images: int | None,
) -> None:
    """Train until the end, or until the rule gives up hope for the front; store the result."""
    epochs = study.config.recipe.epochs
    others = list(trial_curves(study).values())
    costs = known_costs(study, candidate.cost)
    start, curve = time.perf_counter(), dict[int, float]()
    end = None
    for epoch, accuracy in _checked(train(candidate.arch, candidate.seed), epochs):
        curve[epoch] = accuracy
        study.report(candidate.number, list(curve.items()))
        if epoch == epochs:
            end = study.complete
        else:
            losses = tuple(train.losses) if isinstance(train, _Training) else ()
            so_far = TrialCurve(costs, curve, losses)
            if not decide(so_far, others, epochs, images=images).goes_on:
                end = study.stop
        if end is not None:
            break
    last = max(curve, default=0)
    if end is None:
        raise ValueError(
            f"train: ended after epoch {last}; accepted: (epoch, accuracy) up to epoch {epochs}, "
            "the last of the recipe"
        )
    seconds = time.perf_counter() - start
    measurement = Measurement(curve[last], last, seconds, list(curve.items()))
    if isinstance(train, _Training):
        measurement = replace(measurement, losses=train.losses, right=train.right)
    end(candidate.number, measurement)


def _checked(points: Iterable[tuple[int, float]], epochs: int) -> Iterator[tuple[int, float]]:
    """What a training gives, each point checked before it is stored.

    Raises:
        ValueError: it is none of the points that `Train` describes.
        Diverged: an accuracy is not a finite number.
    """
    accepted = f"accepted: pairs (epoch, accuracy), epochs growing from 1 to {epochs}"
    if not isinstance(points, Iterable):
        raise ValueError(f"train: gave {points!r:.40}; {accepted}")
    last = 0
    for point in points:
        try:
            epoch, accuracy = int(point[0]), float(point[1])
            whole = len(point) == 2 and epoch == point[0]
        except (TypeError, ValueError, IndexError, KeyError):
            whole = False
        if not whole or not last < epoch <= epochs:
            raise ValueError(f"train: gave {point!r:.40} after epoch {last}; {accepted}")
        if not math.isfinite(accuracy):
            raise Diverged(f"the accuracy is {accuracy} at epoch {epoch}")
        if not 0 <= accuracy <= 1:
            raise ValueError(
                f"train: accuracy {accuracy:g} at epoch {epoch}; accepted: a fraction from 0 to 1, "
                "such as 0.875"
            )
        last = epoch
        yield epoch, accuracy


@contextmanager
def _lock(storage: str | None, name: str) -> Iterator[None]:
    """Hold the lock of a stored study; one in memory needs none."""
    lock = None if storage is None else lock_study(storage, name)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def _database(storage: str | None) -> Iterator[BaseStorage | None]:
    """The database of a stored study, whose connections are closed at the end."""
    opened = None if storage is None else open_storage(storage, create=True)
    try:
        yield opened
    finally:
        if opened is not None:
            opened.remove_session()
            opened.engine.dispose()


def _sources(
    asked: Iterable[str], sampler: str, config: StudyConfig, storage: str | None, name: str
) -> tuple[StudySource, ...]:
    """The earlier studies that inform the sampler.

    Raises:
        ValueError: one of them cannot be used, or the sampler uses none.
    """
    if isinstance(asked, str):
        raise ValueError(f"sources: {asked!r:.40}; accepted: a list of names, folders or URLs")
    existing = None if storage is None else find_study(storage, name)
    own = StudyLocation(name, storage or "", None)
    names = [str(one) for one in asked]
    sources = find_sources(names, Path("results"), own, existing, config.space)
    require_used(sources, effective_sampler(sampler, config.objectives))
    return sources


def _open(
    config: StudyConfig,
    sampler: str,
    sources: tuple[StudySource, ...],
    source_front: bool,
    budget: int,
    seed: int,
    images: int | None,
    database: BaseStorage | None,
    name: str,
) -> SearchStudy:
    """Create the study or continue it.

    Raises:
        ValueError: it was started with another configuration.
    """
    opened = optuna.create_study(
        storage=database,
        study_name=name,
        directions=config.objectives.directions,
        load_if_exists=True,
    )
    begin(opened, config)
    store_sources(opened, sources)
    opened.set_user_attr("sampler", sampler)
    opened.set_user_attr("seed", seed)
    if images is not None:
        opened.set_user_attr("val_images", images)
    num_trials = len(opened.get_trials(deepcopy=False))
    chosen = choose_sampler(sampler, config, seed, num_trials, images, sources, source_front)
    opened.sampler = chosen.sampler
    search = SearchStudy(opened, config, budget=budget, seed=seed, joint=chosen.joint)
    search.recover()
    return search
