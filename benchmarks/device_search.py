"""Accuracy, multiply-adds and memory under limits of memory and flash: ours, Optuna's, brute force.

    python -m benchmarks.device_search known-cost 0 results.jsonl

Accuracies are the synthetic ones of the full space (`benchmarks.synthetic`), costs are exact.
Optuna's samplers are told both limits as soft constraints, which is what Optuna has; a trial over
a limit counts as an evaluation. `pool` draws uniformly from the space, as a brute-force search
does. A line of the results holds the feasible points, [log10 macs, log10 memory, error] each.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.baselines import OURS, make_baseline, peers_flat
from benchmarks.synthetic import SyntheticProblem
from nas.pareto import non_dominated
from nas.samplers.known_cost import KnownCostSampler
from nas.samplers.parameters import suggest
from nas.space.cost import Cost, cost
from nas.space.limits import Limits
from nas.space.space import Setting

LIMITS = Limits(max_memory=96 * 1024, max_flash=256 * 1024)
SIZES = (32, 3, 10)
EVALUATIONS = 200
POOL = 50_000  # draws of the brute-force search


def run(sampler: str, seed: int) -> dict[str, Any]:
    """One search on the synthetic accuracies of its seed."""
    problem = SyntheticProblem(seed)
    points, over, start = [], 0, time.process_time()
    if sampler == "pool":
        rng = np.random.default_rng([seed, 11])
        drawn = (problem._sample(rng) for _ in range(POOL))
        kept = [(arch, known) for arch in drawn if LIMITS.admit(known := cost(arch, *SIZES))]
        points = [_point(known, problem._error(arch)) for arch, known in kept]
        over = POOL - len(points)
    else:
        study, suggested = _study(problem, sampler, seed)
        for _ in range(EVALUATIONS):
            trial = study.ask()
            setting = suggested(trial)
            known, error = cost(problem.space.decode(setting), *SIZES), problem.error(setting)
            if sampler != OURS:
                trial.set_constraint("memory", known.memory / (LIMITS.max_memory or 1) - 1)
                trial.set_constraint("flash", known.flash / (LIMITS.max_flash or 1) - 1)
            point = _point(known, error)
            if LIMITS.admit(known):
                points.append(point)
            else:
                over += 1
            values = [error, *point[:2]]
            study.tell(trial, [1 - error, known.macs, known.memory] if sampler == OURS else values)
    seconds = time.process_time() - start
    array = np.array(points)
    front = array[non_dominated(array)].tolist()
    return {
        "sampler": sampler,
        "seed": seed,
        "feasible": len(points),
        "over": over,
        "cpu_seconds": round(seconds, 1),
        "front": front,
        "points": points if sampler != "pool" else None,
    }


def _point(known: Cost, error: float) -> list[float]:
    return [float(np.log10(known.macs)), float(np.log10(known.memory)), error]


def _study(problem: SyntheticProblem, sampler: str, seed: int) -> tuple[optuna.Study, Any]:
    if sampler == OURS:

        def known(setting: Setting) -> Cost:
            return cost(problem.space.decode(setting), *SIZES)

        def costs(setting: Any) -> tuple[float, ...]:
            counted = known(setting)
            return float(counted.macs), float(counted.memory)

        ours = KnownCostSampler(
            problem.choices,
            costs,
            seed=seed,
            feasible=lambda setting: LIMITS.admit(known(dict(setting))),
            identity=problem.key,
        )
        study = optuna.create_study(sampler=ours, directions=["maximize", "minimize", "minimize"])
        return study, lambda trial: suggest(trial, problem.choices)
    choices = peers_flat(problem)
    values = {c.name: c.values for c in problem.flat}

    def suggested(trial: optuna.Trial) -> Setting:
        setting = suggest(trial, choices)
        return problem.unflatten(
            {
                c.name: values[c.name][int(setting[c.name])] if c.ordinal else setting[c.name]
                for c in choices
            }
        )

    study = optuna.create_study(
        sampler=make_baseline(sampler, choices, seed), directions=["minimize"] * 3
    )
    return study, suggested


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with Path(sys.argv[3]).open("a") as lines:
        for one in sys.argv[2].split(","):
            lines.write(json.dumps(run(sys.argv[1], int(one))) + "\n")
            lines.flush()
