"""The sampler benchmark: replays in parallel, cached, and their scores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import OPTUNA, OURS
from benchmarks.cache import ReplayCache
from benchmarks.generate import generate
from benchmarks.nats_costs import with_costs
from benchmarks.problems import Problem, TableProblem
from benchmarks.processes import in_processes
from benchmarks.replay import Replay, replay
from benchmarks.synthetic import SyntheticProblem
from benchmarks.tables import read_table
from nas.pareto import hypervolume
from nas.progress import Progress, silent

Array = NDArray[np.float64]

MARKS = (25, 50, 100, 200)
GENERATED = "generated:"
SYNTHETIC = "synthetic:"
FULL_SPACE = "full DyClotNet space"  # all synthetic accuracies on it


@dataclass(frozen=True)
class Job:
    """A replay that is to be made."""

    problem: str  # as `load_problem` reads it
    sampler: str
    seed: int
    evaluations: int
    noise: bool


@functools.cache
def load_problem(source: str) -> Problem:
    """The problem of a table file, `generated:KIND[:SEED]` or `synthetic:SEED`; cached.

    A file of NATS-Bench's topology space may be followed by a size, as in
    `nats-cifar10.csv:cells=15,width=32`: its costs are then those of that size (`nats_costs.py`).

    Raises:
        ValueError: one line that says what is wrong and what is accepted.
    """
    if source.startswith(SYNTHETIC):
        return SyntheticProblem(_seed(source, source.removeprefix(SYNTHETIC)))
    if source.startswith(GENERATED):
        kind, _, seed = source.removeprefix(GENERATED).partition(":")
        return TableProblem(generate(kind, _seed(source, seed or "0")))
    file, colon, sizes = source.rpartition(":")
    if colon and "=" in sizes and not Path(source).exists():
        return TableProblem(with_costs(read_table(Path(file)), sizes))
    return TableProblem(read_table(Path(source)))


def _seed(source: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"table {source}: seed {text!r}; accepted: a whole number from 0")
    return int(text)


def run_job(job: Job) -> Replay:
    """Make one replay, on one thread."""
    import torch

    torch.set_num_threads(1)
    return replay(
        load_problem(job.problem), job.sampler, job.seed, job.evaluations, noise=job.noise
    )


def run(
    jobs: Sequence[Job], cache: ReplayCache, workers: int, progress: Progress = silent
) -> dict[Job, Replay]:
    """All replays in the order of the jobs, from the cache or made in parallel and then cached.

    Args:
        jobs: the replays.
        cache: where replays are stored.
        workers: processes.
        progress: given one step for each replay, their number, and how many were cached.
    """
    problems = {job.problem: load_problem(job.problem) for job in jobs}
    results: dict[Job, Replay] = {}
    for job in jobs:
        cached = cache.get(problems[job.problem], job.sampler, job.seed, job.evaluations, job.noise)
        if cached is not None:
            results[job] = cached
    missing = [job for job in jobs if job not in results]
    for job, made in progress(in_processes(run_job, missing, workers), len(jobs), len(results)):
        cache.put(problems[job.problem], job.sampler, job.seed, job.evaluations, job.noise, made)
        results[job] = made
    return {job: results[job] for job in jobs}  # in the order of the jobs


@dataclass(frozen=True)
class Outcome:
    """The replays of one sampler on one problem, all seeds."""

    table: str
    sampler: str
    curves: Array  # [seeds, evaluations], normalised hypervolume
    distinct: float  # median number of architectures
    ms_per_ask: float  # median over the seeds

    def quartiles(self, evaluations: int) -> tuple[float, float, float]:
        """25 %, 50 % and 75 % quantiles over the seeds after a number of evaluations."""
        low, middle, high = np.percentile(self.curves[:, evaluations - 1], (25, 50, 75))
        return float(low), float(middle), float(high)

    def reaches(self, value: float) -> int | None:
        """Evaluations after which the median is at least `value`."""
        there = np.flatnonzero(np.median(self.curves, axis=0) >= value)
        return int(there[0]) + 1 if len(there) else None


def outcomes(results: dict[Job, Replay]) -> list[Outcome]:
    """Score all replays.

    Where the true front is unknown, the front of all replays together takes its place.
    Synthetic accuracies on the full space are scored as one problem, each being one seed.
    """
    curves: dict[tuple[str, str], list[list[float]]] = {}
    runs: dict[tuple[str, str], list[Replay]] = {}
    for source in dict.fromkeys(job.problem for job in results):
        problem = load_problem(source)
        here = {job: made for job, made in results.items() if job.problem == source}
        best = problem.best
        if best is None:
            points = np.concatenate([made.points for made in here.values()])
            best = hypervolume(points, problem.reference)
        table = FULL_SPACE if source.startswith(SYNTHETIC) else problem.name
        for job, made in here.items():
            curve = made.hypervolumes(problem.reference, best, job.evaluations)
            curves.setdefault((table, job.sampler), []).append(curve)
            runs.setdefault((table, job.sampler), []).append(made)
    return [
        Outcome(
            *key,
            np.array(curves[key]),
            float(np.median([run.distinct for run in made])),
            float(np.median([run.ms_per_ask for run in made])),
        )
        for key, made in runs.items()
    ]


def marks(evaluations: int) -> list[int]:
    """The reported numbers of evaluations: 25, 50, 100, 200 up to the last one, and the last."""
    return sorted({mark for mark in MARKS if mark <= evaluations} | {evaluations})


def rows(scored: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The rows of the JSON file."""
    result = []
    for outcome in scored:
        for mark in marks(outcome.curves.shape[1]):
            q25, median, q75 = outcome.quartiles(mark)
            result.append(
                {
                    "table": outcome.table,
                    "sampler": outcome.sampler,
                    "evaluations": mark,
                    "median": round(median, 6),
                    "q25": round(q25, 6),
                    "q75": round(q75, 6),
                    "distinct": outcome.distinct,
                    "ms_per_ask": round(outcome.ms_per_ask, 2),
                    "seeds": len(outcome.curves),
                }
            )
    return result


def best_other(scored: Sequence[Outcome], outcome: Outcome) -> float | None:
    """The best final median of another sampler on the same table."""
    return max(
        (
            other.quartiles(other.curves.shape[1])[1]
            for other in scored
            if other.table == outcome.table and other.sampler != outcome.sampler
        ),
        default=None,
    )


def bars(scored: Sequence[Outcome]) -> list[dict[str, Any]]:
    """`known-cost` against the best of Optuna's samplers and against BoTorch, per table.

    `against_optuna` and `against_botorch` are ratios of (1 - hypervolume) at the end;
    `half_way` is a difference of hypervolumes: after half of the evaluations, less that of
    Optuna's best at the end; `quarter_way` the same with both after a quarter.
    """
    result = []
    for ours in scored:
        others = [other for other in scored if other.table == ours.table]
        optuna = [other for other in others if other.sampler in OPTUNA]
        if ours.sampler != OURS or not optuna:
            continue
        end = ours.curves.shape[1]
        final = max(other.quartiles(end)[1] for other in optuna)
        quarter = max(other.quartiles(max(1, end // 4))[1] for other in optuna)
        row: dict[str, Any] = {
            "table": ours.table,
            "against_optuna": _ratio(ours.quartiles(end)[1], final),
            "half_way": ours.quartiles(max(1, end // 2))[1] - final,
            "quarter_way": ours.quartiles(max(1, end // 4))[1] - quarter,
        }
        for other in others:
            if other.sampler == "botorch":
                row["against_botorch"] = _ratio(ours.quartiles(end)[1], other.quartiles(end)[1])
                row["time_against_botorch"] = ours.ms_per_ask / other.ms_per_ask
        result.append(row)
    return result


def _ratio(ours: float, theirs: float) -> float | None:
    """(1 - ours) / (1 - theirs); None where the other one reached the whole front."""
    return (1 - ours) / (1 - theirs) if theirs < 1 - 1e-12 else None
