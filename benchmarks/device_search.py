"""Accuracy, multiply-adds and memory under limits of memory and flash: ours, Optuna's, brute force.

Accuracies are the synthetic ones of the full space (`benchmarks.synthetic`), costs are exact.
Optuna's samplers are told both limits as soft constraints, which is what Optuna has; a trial over
a limit counts as an evaluation. `pool` draws many architectures uniformly from the space, as a
brute-force search does, and takes those within the limits. Scores are hypervolumes in
(log multiply-adds, log memory, error), of the front of all searches and the pool of a seed
together.
Run as `python runners/benchmark.py device-search --json FILE`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.baselines import OPTUNA, OURS, make_baseline, peers_flat
from benchmarks.processes import in_processes
from benchmarks.replay import silence_optuna
from benchmarks.rows import RowFile
from benchmarks.synthetic import SyntheticProblem
from nas.pareto import hypervolume, non_dominated
from nas.progress import shown
from nas.samplers.known_cost import KnownCostSampler
from nas.samplers.parameters import suggest
from nas.space.cost import Cost, cost
from nas.space.limits import Limits
from nas.space.space import Setting

LIMITS = Limits(max_memory=96 * 1024, max_flash=256 * 1024)
SIZES = (32, 3, 10)
POOL = "pool"
POOL_SIZE = 50_000  # draws of the brute-force search
SEARCHES = (POOL, OURS, *OPTUNA)
KEY = ("sampler", "seed")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DeviceJob:
    """One search on the synthetic accuracies of its seed."""

    sampler: str  # one of `SEARCHES`
    seed: int
    evaluations: int


def run_job(job: DeviceJob) -> dict[str, Any]:
    """The row of a search; its front has [log10 macs, log10 memory, error] of each member."""
    silence_optuna()
    problem = SyntheticProblem(job.seed)
    start = time.process_time()
    if job.sampler == POOL:
        points, over = _draw(problem, job.seed)
    else:
        points, over = _search(problem, job)
    front = np.array(points)[non_dominated(points)]
    return {
        "sampler": job.sampler,
        "seed": job.seed,
        "over": over,
        "cpu_seconds": round(time.process_time() - start, 1),
        "front": np.round(front, 5).tolist(),
    }


def _draw(problem: SyntheticProblem, seed: int) -> tuple[list[list[float]], int]:
    rng = np.random.default_rng([seed, 11])
    drawn = (problem._sample(rng) for _ in range(POOL_SIZE))
    kept = [(arch, known) for arch in drawn if LIMITS.admit(known := cost(arch, *SIZES))]
    return [_point(known, problem._error(arch)) for arch, known in kept], POOL_SIZE - len(kept)


def _search(problem: SyntheticProblem, job: DeviceJob) -> tuple[list[list[float]], int]:
    study, suggested = _study(problem, job.sampler, job.seed)
    points, over = [], 0
    for _ in range(job.evaluations):
        trial = study.ask()
        setting = suggested(trial)
        known, error = cost(problem.space.decode(setting), *SIZES), problem.error(setting)
        if job.sampler != OURS:
            trial.set_constraint("memory", known.memory / (LIMITS.max_memory or 1) - 1)
            trial.set_constraint("flash", known.flash / (LIMITS.max_flash or 1) - 1)
        point = _point(known, error)
        if LIMITS.admit(known):
            points.append(point)
        else:
            over += 1
        ours = job.sampler == OURS
        study.tell(trial, [1 - error, known.macs, known.memory] if ours else [error, *point[:2]])
    return points, over


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


def run_and_report(
    samplers: Sequence[str], seeds: int, evaluations: int, json_path: Path | None, workers: int
) -> None:
    """Make the searches that the file lacks, print a table, write the rows.

    Args:
        samplers: NAME, or NAME:K for at most K seeds.
        seeds: searches of each.
        evaluations: of each search.
        json_path: an unfinished file is continued.
        workers: processes.

    Raises:
        ValueError: a sampler is unknown; the file is of another setting.
    """
    most = {POOL: seeds}
    for word in samplers:
        name, _, count = word.partition(":")
        if name not in SEARCHES or (count and not count.isdecimal()):
            raise ValueError(
                f"--samplers {word}: accepted: NAME or NAME:K of {', '.join(SEARCHES[1:])}"
            )
        most[name] = min(seeds, int(count or seeds))
    file = RowFile(json_path, {"evaluations": evaluations, "pool": POOL_SIZE}, KEY)
    jobs = [
        DeviceJob(name, seed, evaluations)
        for seed in range(seeds)
        for name, count in most.items()
        if seed < count
    ]
    left = [job for job in jobs if (job.sampler, job.seed) not in file]
    made = in_processes(run_job, left, workers)
    for _, row in shown("searches")(made, len(jobs), len(jobs) - len(left)):
        file.add(row)
    summary = summarise(list(file))
    file.write({"summary": summary})
    Console(width=None if Console().is_terminal else 150).print(table(summary))


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each sampler medians over the seeds that it and the pool have.

    `hypervolume` is a share of that of all fronts of the seed together, below the pool's largest
    costs and error; `left` is 1 - hypervolume of `known-cost` as a share of the sampler's own.
    """
    shares: dict[tuple[str, int], float] = {}
    for seed in {row["seed"] for row in rows}:
        fronts = {r["sampler"]: np.array(r["front"]) for r in rows if r["seed"] == seed}
        if POOL not in fronts:
            continue
        reference = fronts[POOL].max(axis=0)
        best = hypervolume(np.concatenate([*fronts.values()]), reference)
        for name, front in fronts.items():
            shares[name, seed] = hypervolume(front, reference) / best
    summary = []
    for name in SEARCHES:
        own = [row for row in rows if (row["sampler"], row["seed"]) in shares]
        own = [row for row in own if row["sampler"] == name]
        if not own:
            continue
        ratios = [
            (1 - shares[OURS, row["seed"]]) / (1 - shares[name, row["seed"]])
            for row in own
            if (OURS, row["seed"]) in shares and shares[name, row["seed"]] < 1
        ]
        volumes = [shares[name, row["seed"]] for row in own]
        summary.append(
            {
                "sampler": name,
                "seeds": len(own),
                "hypervolume": median(volumes),
                "range": [min(volumes), max(volumes)],
                "left": median(ratios) if ratios else None,
                "over": median(row["over"] for row in own),
                "cpu_seconds": median(row["cpu_seconds"] for row in own),
            }
        )
    return summary


def table(summary: Sequence[dict[str, Any]]) -> Table:
    """A row for each sampler."""
    grid = Table(title="Searches within 96 KiB of memory and 256 KiB of flash")
    grid.add_column("sampler")
    for column in (
        "seeds",
        "hypervolume",
        "least",
        "most",
        "known-cost leaves",
        "over a limit",
        "CPU s",
    ):
        grid.add_column(column, justify="right")
    for row in summary:
        volumes = (row["hypervolume"], *row["range"])
        left = "" if row["left"] is None else f"{row['left']:.2f}x"
        grid.add_row(row["sampler"], str(row["seeds"]), *(f"{v:.3f}" for v in volumes), left,
                     f"{row['over']:.0f}", f"{row['cpu_seconds']:.0f}")  # fmt: skip
    return grid
