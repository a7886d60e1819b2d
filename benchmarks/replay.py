"""A replay: one run of a sampler on a problem, and what it evaluated, in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import optuna

from benchmarks.baselines import OURS, make_baseline, peers_flat
from benchmarks.problems import Problem
from nas.pareto import HypervolumeTracker
from nas.samplers.parameters import SpaceExhausted, suggest
from nas.samplers.sources import Source
from nas.space.space import Choice, Setting


@dataclass(frozen=True)
class Replay:
    """The evaluations of one run of a sampler; duplicates count."""

    points: list[list[float]]  # [log10 macs, mean error] of each evaluation
    distinct: int  # architectures
    ms_per_ask: float  # mean over the run, of processor time (one thread)
    settings: list[Setting] = field(default_factory=list)  # of each evaluation

    def to_dict(self) -> dict[str, Any]:
        """The replay as plain values, for the cache."""
        return asdict(self)

    def hypervolumes(
        self, reference: tuple[float, float], best: float, evaluations: int
    ) -> list[float]:
        """Normalised hypervolume after each evaluation; constant once the space is exhausted."""
        tracker = HypervolumeTracker(reference)
        curve = [tracker.add((x, y)) / best for x, y in self.points[:evaluations]]
        return curve + curve[-1:] * (evaluations - len(curve))


def replay(
    problem: Problem,
    sampler: str,
    seed: int,
    evaluations: int,
    *,
    noise: bool = False,
    ours: Callable[[Problem, int], optuna.samplers.BaseSampler] | None = None,
    first: Sequence[Setting] = (),
) -> Replay:
    """Run a sampler for a number of evaluations.

    Args:
        problem: the space and its accuracies.
        sampler: one of `SAMPLERS`.
        seed: of the sampler, and of the noise.
        evaluations: at most; fewer where the space is exhausted.
        noise: tell the sampler the accuracy of one training seed; the score is of the mean.
        ours: makes the `known-cost` sampler; by default with its default options.
        first: settings to evaluate before the `known-cost` sampler is asked.
    """
    silence_optuna()
    rng = np.random.default_rng([seed, 1]) if noise else None
    if sampler == OURS:
        made = (ours or make_ours)(problem, seed)
        return _run(problem, made, problem.choices, evaluations, rng, first=first)
    choices = peers_flat(problem)
    return _run(problem, make_baseline(sampler, choices, seed), choices, evaluations, rng, True)


def silence_optuna() -> None:
    """Keep Optuna from logging each trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").setLevel(logging.ERROR)


def make_ours(
    problem: Problem, seed: int, sources: Sequence[Source] = ()
) -> optuna.samplers.BaseSampler:
    """The `known-cost` sampler on a problem: only multiply-adds are known to it."""
    from nas.samplers.known_cost import KnownCostSampler

    return KnownCostSampler(
        problem.choices,
        lambda setting: (problem.macs(setting),),
        seed=seed,
        identity=problem.key,
        sources=sources,
    )


def _run(
    problem: Problem,
    sampler: optuna.samplers.BaseSampler,
    choices: tuple[Choice, ...],
    evaluations: int,
    rng: np.random.Generator | None,
    flat: bool = False,
    first: Sequence[Setting] = (),
) -> Replay:
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    if flat:
        study = optuna.create_study(sampler=sampler, directions=["minimize", "minimize"])
    for setting in first:
        study.enqueue_trial(setting)
    points, keys, seconds, settings = [], set(), 0.0, []
    for _ in range(evaluations):
        start = time.process_time()
        trial = study.ask()
        try:
            setting = suggest(trial, choices)
        except SpaceExhausted:
            break
        seconds += time.process_time() - start
        if flat:
            values = {c.name: c.values for c in problem.flat}
            setting = problem.unflatten(
                {
                    c.name: values[c.name][int(setting[c.name])] if c.ordinal else setting[c.name]
                    for c in choices
                }
            )
        macs, observed = problem.macs(setting), problem.observe(setting, rng)
        points.append([float(np.log10(macs)), problem.error(setting)])
        keys.add(problem.key(setting))
        settings.append(setting)
        study.tell(trial, [observed, float(np.log10(macs))] if flat else [1.0 - observed, macs])
    return Replay(points, len(keys), 1000.0 * seconds / max(1, len(points)), settings)
