"""Which networks of a front can be trained in given hours, from a measured minute."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.data import DatasetInfo, SearchData
from nas.files import write_json
from nas.format import format_number
from nas.models.reference import build_reference
from nas.retrain.front_data import load_front_data
from nas.retrain.learning_rate import LEAST_GRID, MAX_FURTHER
from nas.retrain.recipes import second_recipe
from nas.retrain.references import NetworkSpec, network_specs
from nas.retrain.select import select, spread_over_cost
from nas.retrain.short_run import SHARE
from nas.space.arch import Arch
from nas.study.front_file import FrontEntry, load_front
from nas.study.resources import ClusterResources
from nas.training import Recipe, build
from nas.training.small_data import adapt
from nas.training.speed import MARGIN, VALIDATION, measure_speed
from nas.tune.retrain_request import RetrainRequest, require_ranges
from nas.tune.training_pool import Pool, choose_pool

PLAN = "plan.json"
MEASURED_SECONDS = 60.0  # of training, of all measured networks together
LOGITS = 2 / 3  # of an epoch, for a teacher's logits: two forward passes of each image
SHARES = (1 / 60, 1 / 30, 1 / 20, 1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1)  # of all epochs
WORTHWHILE = 1 / 3  # share of the recipe's epochs, from which on more networks come first
SEVERAL = 4  # networks that come before second seeds and more epochs
SEEDS = 2


@dataclass(frozen=True)
class Plan:
    """What is trained, and how long it takes."""

    networks: tuple[str, ...]  # arch_ids, cheapest first
    epochs: int
    seeds: int
    trainings: int  # references, and those at several learning rates, counted
    seconds: float  # expected, from start to end
    again_seconds: float  # more at most: networks that end below their short schedule train again
    further_seconds: float  # more at most: rates are tried beyond the least or the greatest


def plan_retraining(
    request: RetrainRequest,
    hours: float | None,
    find: Callable[[], ClusterResources],
    *,
    epochs: int | None,
    seeds: int | None,
    keep: bool,
) -> Plan:
    """Choose what fits into `hours`; without hours, what the request takes.

    A short training of some networks is timed on this machine. With hours, the order is: the
    knee with a third of the recipe's epochs, up to four networks spread over cost, second
    seeds, all epochs, then the rest of the selection. What was planned for the same request is
    kept in `retrained/plan.json`, so that the same command continues it.

    Args:
        request: `select` gives the networks to choose from.
        hours: for all trainings, from start to end; None: everything that is selected.
        find: finds the resources.
        epochs: asked for; None: those of the recipe, or what fits.
        seeds: asked for; None: one, or what fits.
        keep: whether to write `plan.json`.

    Raises:
        ValueError: one line: nothing fits, or the request is wrong.
    """
    if hours is not None and not 0 < hours < math.inf:
        raise ValueError(f"--budget-hours {hours:g}: accepted: a number over 0, such as 1.5")
    if request.ray_address is not None:
        raise ValueError("--ray-address: accepted: without it, since this machine is timed")
    require_ranges(request)
    front = load_front(request.front)
    info = front.dataset_info()
    data, _ = load_front_data(front, request.front, request.data_dir)
    recipe = adapt(request.recipe, len(data.train), request.adapted)
    ranked = _ranked(select(front, request.select), hours)
    groups = [network_specs([arch], request.references, info)[0] for arch in ranked]
    names = {spec.name for group in groups for spec in group}
    most = len(names) * (seeds or (1 if hours is None else SEEDS))
    pool = choose_pool(
        find(),
        max(most, len(request.learning_rates)),
        concurrency=request.concurrency,
        gpus=request.gpus,
        threads=request.threads,
    )
    key: dict[str, Any] = {
        "hours": hours, "select": request.select, "references": list(request.references),
        "epochs": epochs, "seeds": seeds, "rates": list(request.learning_rates),
        "auto_rate": request.auto_rate, "teacher": request.teacher,
        "recipe": recipe.model_dump(mode="json"), "front": [arch.arch_id for arch in ranked],
    }  # fmt: skip
    path = request.front.parent / "retrained" / PLAN
    if hours is not None and (stored := _stored(path, key)) is not None:
        return stored
    timed = _Timed([spec for group in groups for spec in group], data, recipe, pool)
    searched = Recipe.model_validate(front.recipe)

    def trained_again(epochs: int) -> bool:
        first = recipe.model_copy(update={"epochs": epochs})
        return second_recipe(first, request.adapted, searched, len(data.train)) is not None

    plans = (
        _plan(groups[:count], number, step, request, timed, pool, again=trained_again(step))
        for count, number, step in _ladder(len(groups), recipe.epochs, hours, epochs, seeds)
    )
    if hours is None:
        return next(plans)
    plan = _longest_within(hours, plans)
    if keep:
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"asked": key, "plan": asdict(plan)})
    return plan


def _ranked(chosen: list[FrontEntry], hours: float | None) -> list[Arch]:
    """The networks in the order in which hours are given to them."""
    if hours is None:
        return [entry.build_arch() for entry in chosen]
    counts = range(1, len(chosen) + 1)  # each further network where the cost is least covered
    ranked = (entry for count in counts for entry in spread_over_cost(chosen, count))
    return list(dict.fromkeys(entry.build_arch() for entry in ranked))


def _longest_within(hours: float, plans: Iterator[Plan]) -> Plan:
    """The last plan before the first one that takes too long.

    Raises:
        ValueError: the first plan of all takes too long.
    """
    plan = next(plans)
    if plan.seconds > 3600 * hours:
        least = math.ceil(100 * plan.seconds / 3600) / 100  # rounded up, so that it is accepted
        raise ValueError(
            f"--budget-hours {hours:g}: too short; accepted: at least {least:g}, "
            f"for {plan.networks[0]} and {format_number(plan.epochs, 'epoch')}"
        )
    for larger in plans:
        if larger.seconds > 3600 * hours:
            break
        plan = larger
    return plan


def with_plan(request: RetrainRequest, plan: Plan) -> RetrainRequest:
    """The request that trains what is planned."""
    recipe = request.recipe.model_copy(update={"epochs": plan.epochs})
    adapted = tuple(name for name in request.adapted if name != "epochs")
    return replace(
        request,
        select=",".join(plan.networks),
        recipe=recipe,
        seeds=plan.seeds,
        adapted=adapted,
    )


def _ladder(
    networks: int, most: int, hours: float | None, epochs: int | None, seeds: int | None
) -> Iterator[tuple[int, int, int]]:
    """Numbers of networks, seeds and epochs, each step more than the one before it."""
    if hours is None:
        yield networks, seeds or 1, epochs or most
        return
    steps = [epochs] if epochs else sorted({max(1, round(share * most)) for share in SHARES})
    few = [step for step in steps if step <= max(steps[0], WORTHWHILE * most)]
    several = min(SEVERAL, networks)
    first, second = seeds or 1, seeds or SEEDS
    ladder = [(1, first, step) for step in few]
    ladder += [(count, first, few[-1]) for count in range(2, several + 1)]
    ladder += [(several, second, step) for step in steps[len(few) - 1 :]]
    ladder += [(count, second, steps[-1]) for count in range(several + 1, networks + 1)]
    yield from dict.fromkeys(ladder)


def _plan(
    groups: Sequence[Sequence[NetworkSpec]],
    seeds: int,
    epochs: int,
    request: RetrainRequest,
    timed: _Timed,
    pool: Pool,
    *,
    again: bool,
) -> Plan:
    """The time of every network of the groups; the first of each is the searched one."""
    specs = {spec.name: spec for group in groups for spec in group}
    seconds = [timed.epoch(spec) * epochs for spec in specs.values()] * seeds
    before, trainings, further = 0.0, len(seconds), list[float]()
    for family in dict.fromkeys(spec.family for spec in specs.values()):
        members = sorted(timed.epoch(one) for one in specs.values() if one.family == family)
        more = max(0, len(request.learning_rates) - 1)  # the best training is a network's own
        whole = members[(len(members) - 1) // 2] * epochs
        seconds += [whole] * more
        further += [whole] * (len(request.learning_rates) >= LEAST_GRID)
        trainings += more
        if request.auto_rate:
            seconds += [SHARE * whole]
    if request.teacher and len(specs) > 1:  # taken to be the one whose training takes longest
        seconds.sort()
        before = seconds.pop() + LOGITS * max(timed.epoch(spec) for spec in specs.values())
    searched = sorted((group[0] for group in groups), key=timed.macs)
    seconds_again = [timed.epoch(spec) * epochs for spec in searched]  # with one seed
    return Plan(
        networks=tuple(spec.name for spec in searched),
        epochs=epochs,
        seeds=seeds,
        trainings=trainings,
        seconds=MARGIN * (before + _makespan(seconds, pool)),
        again_seconds=MARGIN * _makespan(seconds_again, pool) if again else 0.0,
        further_seconds=MARGIN * MAX_FURTHER * _makespan(further, pool),  # one after the other
    )


def _makespan(seconds: Sequence[float], pool: Pool) -> float:
    """When the last training ends; each starts when a place is free, the longest ones first.

    Args:
        seconds: of each training alone.
        pool: what they share. On one GPU they take turns.
    """
    places = [0.0] * pool.concurrency
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(places, places[0] + one)
    return max(places) * pool.turns


class _Timed:
    """Seconds of an epoch of each network, from short trainings of some.

    Args:
        specs: the networks.
        data: the splits of a whole training.
        recipe: the whole schedule.
        pool: the resources of a training.
    """

    def __init__(
        self, specs: Sequence[NetworkSpec], data: SearchData, recipe: Recipe, pool: Pool
    ) -> None:
        self._info = data.info
        trained = min(len(data.train), recipe.train_images or len(data.train))
        validated = min(len(data.val), recipe.val_images or len(data.val))
        self._images = trained + VALIDATION * validated
        self._speed = measure_speed(
            {self.macs(spec): partial(_build, spec, data.info) for spec in specs},
            *(data, recipe),
            device=torch.device("cuda" if pool.gpus and torch.cuda.is_available() else "cpu"),
            threads=pool.threads,
            seconds=MEASURED_SECONDS,
        )

    def macs(self, spec: NetworkSpec) -> int:
        """Multiply-adds of one image."""
        return spec.macs(self._info)

    def epoch(self, spec: NetworkSpec) -> float:
        """Seconds of an epoch, its evaluation included."""
        return self._images * self._speed.image(self.macs(spec))


def _build(spec: NetworkSpec, info: DatasetInfo) -> nn.Module:
    if isinstance(spec.network, Arch):
        return build(spec.network, info, 0)
    return build_reference(spec.network, info.in_channels, info.num_classes)


def _stored(path: Path, key: dict[str, Any]) -> Plan | None:
    """The plan of an earlier call with the same request; None where there is none."""
    try:
        stored = json.loads(path.read_bytes())
        if stored["asked"] != key:
            return None
        return Plan(**{**stored["plan"], "networks": tuple(stored["plan"]["networks"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
