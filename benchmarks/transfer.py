"""The transfer benchmark: a second search that knows the results of a first one.

The source table is searched by the known-cost sampler; then the target table is searched
- by the known-cost sampler without the source ("cold start") and by Optuna's TPE,
- by the plain trick: the source's front is evaluated first, then the search goes on as a cold one,
- by the known-cost sampler with the source ("transfer"), and
- with misleading sources: searches of the target table whose accuracies were permuted among
  architectures of equal cost, or whose ranks were negated.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import OURS
from benchmarks.problems import Problem, TableProblem
from benchmarks.processes import in_processes
from benchmarks.replay import Replay, make_ours, replay
from benchmarks.rows import RowFile
from benchmarks.sampler import SYNTHETIC, load_problem
from benchmarks.tables import Table
from nas.pareto import non_dominated
from nas.progress import Progress, silent
from nas.space.space import Setting

Array = NDArray[np.float64]

COLD, TPE, PLAIN, TRANSFER = "cold start", "tpe", "source's front first", "transfer"
PERMUTED, NEGATED = "transfer, permuted", "transfer, negated ranks"
KEY = ("source", "target", "fingerprints", "way", "seed")  # of a row
WAYS = (COLD, TPE, PLAIN, TRANSFER, PERMUTED, NEGATED)
MARKS = (25, 50, 100)
TABLES = "a table's CSV file, FILE:cells=N,width=N of NATS-Bench, or generated:KIND"


@dataclass(frozen=True)
class TransferJob:
    """One search of the target."""

    source: str  # as `load_problem` reads it
    target: str
    way: str  # one of `WAYS`
    seed: int
    trials: int  # evaluations of the source
    evaluations: int  # of the target


def table_problem(option: str, source: str) -> TableProblem:
    """The table that an option names.

    Raises:
        ValueError: it is not a table, or cannot be read.
    """
    problem = load_problem(source)
    if source.startswith(SYNTHETIC) or not isinstance(problem, TableProblem):
        raise ValueError(f"{option} {source}: accepted: {TABLES}")
    return problem


def check_pair(source: str, target: str) -> None:
    """Raise ValueError unless both are tables with the same columns and some equal rows."""
    first, second = table_problem("--source", source), table_problem("--target", target)
    names = [[choice.name for choice in problem.choices] for problem in (first, second)]
    if names[0] != names[1]:
        raise ValueError(
            f"--source {source}: columns {', '.join(names[0])}; accepted: those of the target, "
            f"{', '.join(names[1])}"
        )
    for a, b in zip(first.choices, second.choices, strict=True):
        if not set(a.values) & set(b.values):
            raise ValueError(
                f"--source {source}: column {a.name} shares no value with the target's; "
                "accepted: tables that share architectures"
            )


@functools.lru_cache(maxsize=4)
def _source_search(source: str, misled: str, seed: int, trials: int) -> tuple[Setting, ...]:
    """What the first search evaluated, in order."""
    return tuple(replay(_source(source, misled, seed), OURS, seed, trials).settings)


@functools.lru_cache(maxsize=4)
def _source(source: str, misled: str, seed: int) -> TableProblem:
    """The table of the first search."""
    table = table_problem("--source", source).table
    if not misled:
        return TableProblem(table)
    error = _negated(table) if misled == NEGATED else _permuted(table, seed)
    return TableProblem(replace(table, accuracy=1.0 - error[:, None]))


def _permuted(table: Table, seed: int) -> Array:
    """Errors, permuted among architectures of equal cost."""
    rng, error = np.random.default_rng([seed, 6]), table.error.copy()
    for macs in np.unique(table.macs):
        rows = np.flatnonzero(table.macs == macs)
        error[rows] = error[rng.permutation(rows)]
    return error


def _negated(table: Table) -> Array:
    """Errors whose ranks are reversed: the best architecture has the largest error."""
    order, error = np.argsort(table.error, kind="stable"), np.empty(len(table.error))
    error[order] = np.sort(table.error)[::-1]
    return error


def run_job(job: TransferJob) -> Replay:
    """Make one search of the target, on one thread."""
    target = table_problem("--target", job.target)
    if job.way in (COLD, TPE):
        sampler = OURS if job.way == COLD else "tpe"
        return replay(target, sampler, job.seed, job.evaluations)
    misled = job.way if job.way in (PERMUTED, NEGATED) else ""
    name = job.target if misled else job.source
    source = _source(name, misled, job.seed)
    settings = _source_search(name, misled, job.seed, job.trials)
    settings = tuple(setting for setting in settings if _known(target, setting))
    if job.way == PLAIN:
        first = _front(source, settings)
        return replay(target, OURS, job.seed, job.evaluations, first=first)

    def ours(problem: Problem, seed: int) -> Any:
        from nas.samplers import Source

        errors = [source.error(setting) for setting in settings]
        costs = [(problem.macs(setting),) for setting in settings]
        return make_ours(problem, seed, [Source(name, settings, errors, costs)])

    return replay(target, OURS, job.seed, job.evaluations, ours=ours)


def _known(target: TableProblem, setting: Setting) -> bool:
    """Whether the target has an architecture."""
    return all(setting[choice.name] in choice.values for choice in target.choices)


def _front(source: TableProblem, settings: tuple[Setting, ...]) -> list[Setting]:
    """The front of the first search, cheapest first."""
    points = np.array([[source.macs(s), source.error(s)] for s in settings])
    rows = [int(row) for row in np.argsort(points[:, 0]) if non_dominated(points)[row]]
    return [settings[row] for row in rows]


def key(job: TransferJob) -> tuple[str, str, str, str, int]:
    """What identifies the row of a search, see `KEY`."""
    tables = [table_problem("--table", name) for name in (job.source, job.target)]
    fingerprints = " to ".join(table.fingerprint for table in tables)
    return tables[0].name, tables[1].name, fingerprints, job.way, job.seed


def run(jobs: list[TransferJob], rows: RowFile, workers: int, progress: Progress = silent) -> None:
    """Make all searches that `rows` lacks, in parallel, and add a row for each."""
    missing = [job for job in jobs if key(job) not in rows]
    made = in_processes(run_job, missing, workers)
    for job, done in progress(made, len(jobs), len(jobs) - len(missing)):
        problem = table_problem("--target", job.target)
        assert problem.best is not None
        curve = done.hypervolumes(problem.reference, problem.best, job.evaluations)
        rows.add(
            {
                **dict(zip(KEY, key(job), strict=True)),
                "hypervolume": [round(value, 5) for value in curve],
                "ms_per_ask": round(done.ms_per_ask, 2),
            }
        )
