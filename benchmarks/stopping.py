"""Replays of stopping rules on tables of learning curves.

Every network of the table is a trial, in random order, several at a time; at each rung a rule
decides whether the trial goes on. The scores are the hypervolume of the networks that finished
as a share of that of all networks, and the epochs spent as a share of those without stopping.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.curves import CurveTable
from benchmarks.stopping_rules import ONE_EPOCH, RULES, STRENGTHS, Rule, best
from nas.pareto import hypervolume
from nas.progress import Progress, silent
from nas.stopping.rule import TrialCurve, rungs


@dataclass(frozen=True)
class Outcome:
    """The scores of one replay, as shares of those without stopping."""

    hypervolume: float
    epochs: float
    multiply_adds: float  # epochs x macs, to which training time is proportional
    finished: float


def replay(
    table: CurveTable,
    rule: Rule,
    order: Sequence[int],
    evaluated: Sequence[int],
    in_flight: int = 1,
) -> Outcome:
    """Run all trials.

    Args:
        table: the networks.
        rule: decides at each rung except the last.
        order: rows of the table in the order in which they start.
        evaluated: the rungs; the last one is the last epoch.
        in_flight: trials at a time; a trial takes its epochs times its multiply-adds.
    """
    waiting, ticket = iter(order), itertools.count()
    curves: dict[int, TrialCurve] = {}
    running: list[tuple[float, int, int, int]] = []  # (time of the rung, ticket, row, rung)

    def start(now: float) -> None:
        if (row := next(waiting, None)) is not None:
            until = now + evaluated[0] * table.macs[row]
            heapq.heappush(running, (until, next(ticket), row, 0))

    for _ in range(in_flight):
        start(0.0)
    while running:
        now, _, row, index = heapq.heappop(running)
        rung, macs = evaluated[index], float(table.macs[row])
        before = curves.pop(row).curve if row in curves else {}
        losses = () if table.losses is None else tuple(table.losses[row, :rung].tolist())
        curve = {**before, rung: float(table.accuracy[row, rung - 1])}
        trial = TrialCurve((macs,), curve, losses)
        goes_on = rung < evaluated[-1] and rule(trial, list(curves.values()))
        curves[row] = trial
        if goes_on:
            until = now + (evaluated[index + 1] - rung) * macs
            heapq.heappush(running, (until, next(ticket), row, index + 1))
        else:
            start(now)
    return _outcome(table, curves)


def one_epoch(table: CurveTable, kept: float) -> Outcome:
    """Train all networks for one epoch, and then the best of them to the end.

    The best are those of `sorting`, with all networks to compare with ("Is one epoch all you need
    for multi-fidelity hyperparameter optimization?", Egele et al., arXiv 2307.15422).
    """
    chosen = best(np.column_stack([np.log10(table.macs), 1 - table.accuracy[:, 0]]), kept)
    return _outcome(
        table,
        {
            row: TrialCurve((macs,), {table.epochs if row in chosen else 1: 1.0})
            for row, macs in enumerate(table.macs.tolist())
        },
    )


def _outcome(table: CurveTable, curves: dict[int, TrialCurve]) -> Outcome:
    rows = np.array(list(curves))
    spent = np.array([max(trial.curve) for trial in curves.values()])
    finished = rows[spent == table.epochs]
    everything = hypervolume(table.points[rows], table.reference)
    return Outcome(
        hypervolume(table.points[finished], table.reference) / everything,
        float(spent.mean() / table.epochs),
        float(spent @ table.macs[rows] / (table.macs[rows].sum() * table.epochs)),
        len(finished) / len(rows),
    )


@dataclass(frozen=True)
class Row:
    """A rule at one strength: medians over the orders."""

    rule: str
    strength: float
    in_flight: int
    hypervolume: float
    q25: float  # quartiles and least of the hypervolume
    q75: float
    least: float
    epochs: float
    multiply_adds: float
    finished: float
    halving: float | None = None  # hypervolume of successive halving at the same epochs
    sorting: float | None = None
    one_epoch: float | None = None  # of choosing among all networks after their first epoch


def compare(
    tables: Sequence[CurveTable],
    *,
    orders: int = 20,
    in_flight: Sequence[int] = (1, 8),
    evaluated: Sequence[int] | None = None,
    strengths: dict[str, tuple[float, ...]] = STRENGTHS,
    progress: Progress = silent,
) -> list[Row]:
    """Replay every rule at every strength.

    Args:
        tables: medians are over the replays of all tables.
        orders: random orders of the trials of each table, the same for each rule.
        in_flight: numbers of trials at a time, replayed separately.
        evaluated: the rungs; None: those of a search.
        strengths: of each rule.
        progress: follows the replays.

    Returns:
        The rows; those of `front` hold the other rules' hypervolume at the same epochs.
    """
    work = [
        (name, strength, flying)
        for flying in in_flight
        for name, values in strengths.items()
        for strength in values
    ]
    rows = []
    for name, strength, flying in progress(work, len(work)):
        outcomes = []
        for table in tables:
            if name == ONE_EPOCH:
                outcomes.append(one_epoch(table, strength))
                continue
            rule = RULES[name](strength, table.epochs, table.images)
            for seed in range(orders):
                order = np.random.default_rng(seed).permutation(len(table.macs)).tolist()
                at = evaluated or rungs(table.epochs)
                outcomes.append(replay(table, rule, order, at, flying))
        rows.append(_row(name, strength, flying, outcomes))
    return [_against(row, rows) for row in rows]


def _row(name: str, strength: float, flying: int, outcomes: list[Outcome]) -> Row:
    volumes = [outcome.hypervolume for outcome in outcomes]
    q25, median, q75 = (float(np.quantile(volumes, q)) for q in (0.25, 0.5, 0.75))
    epochs, multiply_adds, finished = (
        float(np.median([getattr(outcome, field) for outcome in outcomes]))
        for field in ("epochs", "multiply_adds", "finished")
    )
    least = min(volumes)
    return Row(name, strength, flying, median, q25, q75, least, epochs, multiply_adds, finished)


def _against(row: Row, rows: list[Row]) -> Row:
    """The row with the other rules' hypervolume at its epochs, interpolated over strengths."""
    if row.rule != "front":
        return row
    others: dict[str, float] = {}
    for name in ("halving", "sorting", ONE_EPOCH):
        theirs = [other for other in rows if (other.rule, other.in_flight) == (name, row.in_flight)]
        curve = sorted([(other.epochs, other.hypervolume) for other in theirs] + [(1.0, 1.0)])
        # Only within the range of epochs that the other rule can spend.
        if row.epochs >= curve[0][0] and theirs:
            epochs, volumes = zip(*curve, strict=True)
            others[name.replace(" ", "_")] = float(
                np.interp(row.epochs, epochs, np.maximum.accumulate(volumes))
            )
    return Row(**(asdict(row) | others))
