"""A search from Python, in this process, on data or with a training of one's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import optuna
import torch

from nas.data import DatasetInfo, SearchData
from nas.space.arch import Arch
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.stopping.rule import TrialCurve, decide, rungs
from nas.study.choose_sampler import choose_sampler
from nas.study.config import StudyConfig, begin
from nas.study.front import front
from nas.study.front_file import FrontFile, front_file
from nas.study.objectives import KNOWN, Objectives
from nas.study.storage.engine import open_storage
from nas.study.storage.lock import lock_study
from nas.study.study import Candidate, Measurement, SearchStudy
from nas.study.trial_curves import known_costs, trial_curves
from nas.training import Diverged, Recipe, Trainer, build, default_recipe

DIVERGED = "diverged"

Train = Callable[[Arch, int], Iterable[tuple[int, float]]]
"""Trains an architecture with a seed; gives (epochs so far, validation accuracy) now and then."""


def run_search(
    space: SearchSpace,
    data: SearchData | DatasetInfo,
    budget: int,
    *,
    train: Train | None = None,
    recipe: Recipe | None = None,
    objectives: Objectives | None = None,
    limits: Limits | None = None,
    sampler: str = "known-cost",
    seed: int = 0,
    max_failures: int = 10,
    storage: str | None = None,
    name: str = "search",
) -> FrontFile:
    """Search one trial after another, and give the front.

    For many trials at once, on one machine or on a cluster, use `runners/search.py`.
    Stopping early and the record are the same: with a `storage`, the same call goes on
    where the last one ended, and the report and the dashboard open the study.

    Args:
        space: what is searched.
        data: from `nas.data.from_arrays` or `load_search_data`; what is known of the
            images is enough where `train` is given.
        budget: distinct architectures, over the life of the study.
        train: a training of one's own, see `Train`; its last epoch is `recipe.epochs`.
            A `nas.training.Diverged` that it raises is a failed trial.
        recipe: of the training; the short one for this kind of data by default. With
            `train` it has to be given: a training is whole at the last of its epochs.
        objectives: accuracy and multiply-adds by default.
        limits: the most that an architecture may cost; none by default.
        sampler: one of `nas.study.choose_sampler.SAMPLERS`.
        seed: of everything random.
        max_failures: trials that may diverge; one more ends the search.
        storage: URL of a database, as in `sqlite:////absolute/path.db`; in memory by default.
        name: of the study.

    Raises:
        StudyLocked: another process works on the study.
        ValueError: the study is of another configuration; images or a recipe are missing.
        nas.training.Diverged: more trials than `max_failures` did.
    """
    info = data.info if isinstance(data, SearchData) else data
    if train is not None and recipe is None:
        raise ValueError("recipe: none; accepted: with `train` one whose epochs are the training's")
    recipe = recipe or default_recipe(info.name, torch.cuda.is_available())
    if train is None:
        if not isinstance(data, SearchData):
            raise ValueError("data: no images, and no `train`; accepted: SearchData, or a function")
        train = _Training(data, recipe)
    objectives = objectives or Objectives(("accuracy", "macs"))
    if not set(objectives.names) <= {"accuracy", *KNOWN}:
        raise ValueError(
            f"objectives: {','.join(objectives.names)}; latency: use runners/search.py"
        )
    config = StudyConfig(space, info, recipe, objectives, limits or Limits())
    images = None
    if isinstance(data, SearchData):
        images = recipe.evaluated(len(data.val))
    with _lock(storage, name):
        study = _open(config, sampler, budget, seed, images, storage, name)
        while (candidate := study.ask()) is not None:
            try:
                _run(study, candidate, train(candidate.arch, candidate.seed), images)
            except Diverged:
                study.fail(candidate.number, DIVERGED)
                if study.failures.total() > max_failures:
                    raise
            except BaseException:
                study.interrupt(candidate.number)
                raise
        return front_file(name, config, front(study.study, objectives))


class _Training:
    """This project's own training, evaluated at the rungs."""

    def __init__(self, data: SearchData, recipe: Recipe) -> None:
        self._data, self._recipe = data, recipe
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, arch: Arch, seed: int) -> Iterator[tuple[int, float]]:
        network = build(arch, self._data.info, seed)
        trainer = Trainer(network, self._data, self._recipe, seed=seed, device=self._device)
        for rung in rungs(self._recipe.epochs):
            while trainer.epoch < rung:
                trainer.train_epoch()
            yield rung, trainer.evaluate()


def _run(
    study: SearchStudy,
    candidate: Candidate,
    points: Iterable[tuple[int, float]],
    images: int | None,
) -> None:
    """Train until the end or until there is no hope for the front, and record it."""
    epochs = study.config.recipe.epochs
    others = trial_curves(study)
    costs = tuple(float(getattr(candidate.cost, name)) for name in known_costs(study))
    start, curve = time.perf_counter(), dict[int, float]()
    for epoch, accuracy in points:
        curve[int(epoch)] = float(accuracy)
        study.report(candidate.number, list(curve.items()))
        if epoch >= epochs:
            break
        shown = TrialCurve(costs, curve)
        if not decide(shown, list(others.values()), epochs, images=images).goes_on:
            break
    if not curve:
        raise ValueError("train: gave no (epoch, accuracy)")
    last = max(curve)
    measurement = Measurement(curve[last], last, time.perf_counter() - start, list(curve.items()))
    end = study.complete if last >= epochs else study.stop
    end(candidate.number, measurement)


@contextmanager
def _lock(storage: str | None, name: str) -> Iterator[None]:
    """One process works on a study; one in memory is nobody else's."""
    lock = None if storage is None else lock_study(storage, name)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _open(
    config: StudyConfig,
    sampler: str,
    budget: int,
    seed: int,
    images: int | None,
    storage: str | None,
    name: str,
) -> SearchStudy:
    """Create the study or continue it.

    Raises:
        ValueError: it was started with another configuration.
    """
    opened = optuna.create_study(
        storage=None if storage is None else open_storage(storage, create=True),
        study_name=name,
        directions=config.objectives.directions,
        load_if_exists=True,
    )
    begin(opened, config)
    opened.set_user_attr("sampler", sampler)
    opened.set_user_attr("seed", seed)
    num_trials = len(opened.get_trials(deepcopy=False))
    chosen = choose_sampler(sampler, config, seed, num_trials, images)
    opened.sampler = chosen.sampler
    search = SearchStudy(opened, config, budget=budget, seed=seed, joint=chosen.joint)
    search.recover()
    return search
