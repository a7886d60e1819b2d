"""The overhead of a search around its trials.

Four parts: seconds per trial beyond those of a bare Ray Tuner, with no-op trials; the busy
share of many slots, with trials that sleep; the same with trials as short as those of a GPU,
and how long a slot waits for one; operations on a study of thousands of trials.
Run as `python runners/benchmark.py overhead --json FILE`.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import ray
from rich.console import Console
from rich.table import Table

from benchmarks import large_study
from benchmarks.large_study import Timing
from benchmarks.overhead_run import (
    Ran,
    busy_share,
    run_bare,
    run_ours,
    seconds_per_trial,
    started_ray,
)
from nas.files import write_json
from nas.progress import Meter

BARE = "bare Tuner"
SAMPLERS = ("known-cost", "random")  # the default, and one that takes no time
CONCURRENCY = 2


@dataclass(frozen=True)
class Sizes:
    """The sizes of all parts."""

    trials: int = 60  # of a run of no-op trials
    repetitions: int = 3  # of each such run, in turns
    slots: int = 64
    sleeping: int = 256  # trials
    sleep: float = 30.0  # seconds
    short_trials: int = 512
    short_sleep: float = 4.0  # seconds
    stored: int = 10_000  # trials of the large study


def measure(
    space: Path, sizes: Sizes, step: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """Measure all parts.

    Args:
        space: file of the space that is searched.
        sizes: of all parts.
        step: called with the name of each step before it starts, `steps(sizes)` times.
    """
    per_trial = noop(space, sizes, step)
    busy = sleeping(space, sizes, step)
    short = short_trials(space, sizes, step)
    step(f"study of {sizes.stored} trials")
    with tempfile.TemporaryDirectory(prefix="nas-overhead-") as folder:
        timings = large_study.measure(Path(folder), space, sizes.stored)
    return report(sizes, per_trial, busy, short, timings)


def steps(sizes: Sizes) -> int:
    """Number of steps of `measure`."""
    return (1 + len(SAMPLERS)) * sizes.repetitions + 2 + 2 * sizes.repetitions + 1


def noop(space: Path, sizes: Sizes, step: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds per trial of each run of the bare Tuner, and of ours by sampler."""
    seconds: dict[str, list[float]] = {name: [] for name in (BARE, *SAMPLERS)}
    with started_ray(CONCURRENCY):
        for _ in range(sizes.repetitions):
            for name in seconds:
                step(f"{sizes.trials} no-op trials, {name}")
                ran = _run(name, space, sizes.trials, CONCURRENCY, 0.0)
                seconds[name].append(seconds_per_trial(ran, CONCURRENCY))
    return seconds


def sleeping(space: Path, sizes: Sizes, step: Callable[[str], None]) -> dict[str, float]:
    """Busy share of the slots, of the bare Tuner and of ours."""
    shares = {}
    with started_ray(sizes.slots):
        for name in (BARE, SAMPLERS[0]):
            step(f"{sizes.sleeping} trials that sleep {sizes.sleep:g} s, {name}")
            ran = _run(name, space, sizes.sleeping, sizes.slots, sizes.sleep)
            shares[name] = busy_share(ran, sizes.slots)
    return shares


def short_trials(
    space: Path, sizes: Sizes, step: Callable[[str], None] = lambda name: None
) -> dict[str, list[float]]:
    """The bare Tuner and ours with short trials, in turns: an entry for each repetition.

    Returns:
        `bare_busy_share`, `busy_share`; `median_wait` and `p95_wait`, the seconds that Tune's
        loop waited for a trial of ours where a slot was free, once all slots had one.
    """
    figures: dict[str, list[float]] = {
        name: [] for name in ("bare_busy_share", "busy_share", "median_wait", "p95_wait")
    }
    with started_ray(sizes.slots):
        for _ in range(sizes.repetitions):
            case = f"{sizes.short_trials} trials that sleep {sizes.short_sleep:g} s"
            step(f"{case}, {BARE}")
            ran = run_bare(space, sizes.short_trials, sizes.slots, sizes.short_sleep)
            figures["bare_busy_share"].append(busy_share(ran, sizes.slots))
            step(f"{case}, {SAMPLERS[0]}")
            waits: list[float] = []
            ran = run_ours(
                *(space, sizes.short_trials, sizes.slots, sizes.short_sleep), waits=waits
            )
            figures["busy_share"].append(busy_share(ran, sizes.slots))
            later = sorted(waits[sizes.slots :])
            figures["median_wait"].append(median(later))
            figures["p95_wait"].append(later[int(0.95 * (len(later) - 1))])
    return figures


def _run(name: str, space: Path, trials: int, concurrency: int, sleep: float) -> list[Ran]:
    if name == BARE:
        return run_bare(space, trials, concurrency, sleep)
    return run_ours(space, trials, concurrency, sleep, name)


def report(
    sizes: Sizes,
    per_trial: dict[str, list[float]],
    busy: dict[str, float],
    short: dict[str, list[float]],
    timings: list[Timing],
) -> dict[str, Any]:
    """The figures as plain values, with versions, machine and targets, for the JSON file."""
    floor = median(per_trial[BARE])
    over = {name: median(per_trial[name]) - floor for name in SAMPLERS}
    return {
        "sizes": asdict(sizes),
        "ray": ray.__version__,
        "optuna": optuna.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "seconds_per_trial": per_trial,
        "seconds_over_the_floor": over,
        "busy_share": busy,
        "short_trials": short,
        "study": [asdict(timing) for timing in timings],
        "bars": {
            "seconds per trial over the floor <= 0.15": over[SAMPLERS[0]] <= 0.15,
            "busy share >= 0.95x the bare Tuner's": busy[SAMPLERS[0]] >= 0.95 * busy[BARE],
            "busy share of short trials >= the bare Tuner's": median(
                ours / bare
                for ours, bare in zip(short["busy_share"], short["bare_busy_share"], strict=True)
            )
            >= 1,
            "median wait for a short trial <= 0.2 s": median(short["median_wait"]) <= 0.2,
        }
        | {
            f"{timing.operation} < {timing.limit:g} s": timing.seconds < timing.limit
            for timing in timings
            if timing.limit is not None
        },
    }


def run_and_report(space: Path, json_path: Path | None) -> None:
    """Measure everything, print tables, write the JSON file."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sizes = Sizes()
    with Meter("", steps(sizes)) as meter:
        begun = 0

        def step(name: str) -> None:
            nonlocal begun
            if begun:
                meter.ended()
            meter.begins(name)
            begun += 1

        figures = measure(space, sizes, step)
    console = Console(width=None if Console().is_terminal else 100)
    for table in tables(figures):
        console.print(table)
    for bar, held in figures["bars"].items():
        console.print(f"{'held' if held else '[red]missed[/red]'}: {bar}")
    if json_path is not None:
        write_json(json_path, figures)
        console.print(f"written: {json_path}")


def tables(figures: dict[str, Any]) -> list[Table]:
    """Tables of the trials, of short ones, and of the large study."""
    sizes = figures["sizes"]
    around = Table(title=f"Around trials; {sizes['slots']} slots, concurrency {CONCURRENCY}")
    for column in ("", "s per trial", "over the floor", "slots busy"):
        around.add_column(column, justify="right" if column else "left")
    for name, seconds in figures["seconds_per_trial"].items():
        over, share = figures["seconds_over_the_floor"].get(name), figures["busy_share"].get(name)
        around.add_row(
            name,
            f"{median(seconds):.3f}",
            "" if over is None else f"{over:+.3f}",
            "" if share is None else f"{share:.3f}",
        )
    short = figures["short_trials"]
    waits = Table(title=f"{sizes['slots']} slots, trials of {sizes['short_sleep']:g} s")
    for column in (
        "repetition",
        f"{BARE}, slots busy",
        "ours, slots busy",
        "median wait, s",
        "95 %",
    ):
        waits.add_column(column, justify="right")
    for number, row in enumerate(zip(*short.values(), strict=True), 1):
        waits.add_row(str(number), *(f"{value:.3f}" for value in row))
    study = Table(title=f"A study of {sizes['stored']} trials in SQLite")
    for column in ("operation", "s", "CPU s", "at most"):
        study.add_column(column, justify="left" if column == "operation" else "right")
    for timing in figures["study"]:
        limit = "" if timing["limit"] is None else f"{timing['limit']:g}"
        study.add_row(
            timing["operation"],
            f"{timing['seconds']:.2f}",
            f"{timing['cpu_seconds']:.2f}",
            limit,
        )
    return [around, waits, study]
