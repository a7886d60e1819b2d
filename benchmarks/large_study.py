"""Times of operations on a study of thousands of trials in SQLite."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.report.study_folder import report_study
from nas.samplers import distribution
from nas.space.cost import cost
from nas.stopping.rule import rungs
from nas.study.choose_sampler import choose_sampler
from nas.study.config import StudyConfig
from nas.study.front import front_of_trials, validation_images
from nas.study.front_file import front_file, write_front, write_trials
from nas.study.location import folder_location, open_study
from nas.study.measurement import Measurement
from nas.study.plan import make_plan
from nas.study.request import Request
from nas.study.storage.engine import open_storage
from nas.study.storage.optuna_private import StudyStorage, models
from nas.study.study import SearchStudy
from nas.tune.resources import this_machine

NAME = "large"
ASKS = 5  # of each sampler; the slowest one is reported
FINISHED, STOPPED = 0.45, 0.5  # shares of the trials; the others failed


@dataclass(frozen=True)
class Timing:
    """One operation."""

    operation: str
    seconds: float
    cpu_seconds: float  # of this process
    limit: float | None  # target in seconds, if any


def measure(
    folder: Path,
    space: Path,
    trials: int,
    samplers: tuple[str, ...] = ("random", "tpe", "nsga2"),
    done: Callable[[str], None] = lambda operation: None,
) -> list[Timing]:
    """Build a study of the digits in `folder`, then time operations on it.

    Args:
        folder: parent of the study's folder.
        space: file of the space.
        trials: number of trials in the study.
        samplers: names of the samplers to ask.
        done: called with the name of each operation that was timed.
    """
    images = fill(folder, space, trials)
    timings: list[Timing] = []

    @contextmanager
    def timed(operation: str, limit: float | None) -> Iterator[None]:
        start, cpu = time.perf_counter(), time.process_time()
        yield
        spent, cpu = time.perf_counter() - start, time.process_time() - cpu
        timings.append(Timing(operation, spent, cpu, limit))
        done(operation)

    with timed("open, with the first read of all trials", 10):
        location = folder_location(folder / NAME, None, NAME)
        study, config = open_study(location)
        search = SearchStudy(study, config, budget=10 * trials)
    for name in samplers:
        chosen = choose_sampler(name, config, 0, trials, images)
        study.sampler = chosen.sampler
        search = SearchStudy(study, config, budget=10 * trials, joint=chosen.joint)
        before = len(timings)
        for _ in range(ASKS):
            with timed(f"ask, {name}", 1):
                candidate = search.ask()
            assert candidate is not None
            epochs = config.recipe.epochs
            with timed(f"tell, {name}", 1):
                search.complete(candidate.number, Measurement(0.5, epochs, 1.0, [(epochs, 0.5)]))
        timings[before:] = [
            max(timings[before + kind :: 2], key=lambda timing: timing.seconds) for kind in (0, 1)
        ]
    with timed("export: front.json, trials.csv", None):
        members, estimates = front_of_trials(
            study.get_trials(deepcopy=False), config, validation_images(study.user_attrs)
        )
        write_front(folder / NAME / "front.json", front_file(NAME, config, members))
        write_trials(folder / NAME / "trials.csv", study, estimates)
    with timed("report, with the dashboard's notes", None):
        report_study(location, folder / NAME)
    seconds = sum(timing.seconds for timing in timings[-2:])
    cpu = sum(timing.cpu_seconds for timing in timings[-2:])
    return [*timings, Timing("export and report", seconds, cpu, 20)]


def fill(folder: Path, space: Path, trials: int) -> int:
    """Make the study `NAME` in `folder`, with synthetic results of random architectures.

    Returns:
        The number of validation images of a real trial of this study.

    Raises:
        ValueError: the space has too few architectures.
    """
    request = Request(budget=trials, space=space, dataset="digits", results=folder, study=NAME)
    plan = make_plan(request, this_machine())
    if plan.config.space.distinct_size < 2 * trials:
        raise ValueError(f"--space {space}: too small for a study of {trials} architectures")
    storage = open_storage(plan.storage, create=True)
    study = optuna.create_study(
        storage=storage,
        study_name=NAME,
        directions=plan.config.objectives.directions,
    )
    study.set_metric_names(list(plan.config.objectives.names))
    for key, value in plan.config.to_attributes().items():
        study.set_user_attr(key, value)
    rng, made = random.Random(0), dict[str, FrozenTrial]()
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=10 * trials)
    while len(made) < trials:
        trial = _trial(plan.config, rng)
        trial.number = len(made)
        trial.datetime_start = start + timedelta(seconds=10 * trial.number)
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=8)
        made.setdefault(trial.user_attrs["arch_id"], trial)
    _insert(storage, storage.get_study_id_from_name(NAME), list(made.values()))
    return plan.config.recipe.evaluated(plan.data.val)


def _insert(storage: StudyStorage, study_id: int, trials: list[FrozenTrial]) -> None:
    """Insert all trials in one transaction; `study.add_trials` takes about 20 ms for each."""
    params, attributes, values = [], [], []
    for trial in trials:
        id_ = {"trial_id": trial.number + 1}
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            inside = kind.to_internal_repr(value)
            described = distribution_to_json(kind)
            params.append(
                id_ | {"param_name": name, "param_value": inside, "distribution_json": described}
            )
        for key, content in trial.user_attrs.items():
            attributes.append(id_ | {"key": key, "value_json": json.dumps(content)})
        for objective, number in enumerate(trial.values or []):
            finite = models.TrialValueModel.TrialValueType.FINITE
            values.append(id_ | {"objective": objective, "value": number, "value_type": finite})
    rows = [
        {
            "trial_id": trial.number + 1,
            "number": trial.number,
            "study_id": study_id,
            "state": trial.state,
            "datetime_start": trial.datetime_start,
            "datetime_complete": trial.datetime_complete,
        }
        for trial in trials
    ]
    with storage.engine.begin() as connection:
        for model, inserted in (
            (models.TrialModel, rows),
            (models.TrialParamModel, params),
            (models.TrialUserAttributeModel, attributes),
            (models.TrialValueModel, values),
        ):
            connection.execute(sqlalchemy.insert(model), inserted)
    storage.engine.dispose()


def _trial(config: StudyConfig, rng: random.Random) -> FrozenTrial:
    """A trial that finished, was stopped or failed; accuracy rises with multiply-adds."""
    setting = config.space.sample_setting(rng)
    arch = config.space.decode(setting)
    info = config.dataset
    counted = cost(arch, info.image_size, info.in_channels, info.num_classes)
    attributes = {
        "arch": arch.to_dict(),
        "arch_id": arch.arch_id,
        "macs": counted.macs,
        "params": counted.params,
        "seed": rng.randrange(2**32),
    }
    draw = rng.random()
    final = min(0.99, 0.4 + 0.04 * math.log10(counted.macs) + rng.gauss(0.2, 0.05))
    state = TrialState.FAIL
    if draw < FINISHED + STOPPED:
        state = TrialState.COMPLETE if draw < FINISHED else TrialState.PRUNED
        reached = rungs(config.recipe.epochs)[: None if draw < FINISHED else 2]
        curve = [[epoch, final * (1 - 0.5 / (1 + epoch))] for epoch in reached]
        attributes |= {"accuracy": curve[-1][1], "epochs": reached[-1], "seconds": 8.0}
        attributes |= {"curve": curve}
    else:
        attributes |= {"reason": "diverged"}
    done = state == TrialState.COMPLETE
    measured = {"accuracy": attributes.get("accuracy", 0.0), "macs": float(counted.macs)}
    choices = {choice.name: choice for choice in config.space.choices}
    named = {name: value for name, value in setting.items() if len(choices[name].values) > 1}
    return create_trial(
        state=state,
        values=config.objectives.values(measured) if done else None,  # type: ignore[arg-type]
        params=named,
        distributions={name: distribution(choices[name]) for name in named},
        user_attrs=attributes,
    )
