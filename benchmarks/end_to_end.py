"""Whole searches against baseline searches in Ray Tune.

One baseline is what the documentation shows (`benchmarks/baseline_search.py`: `OptunaSearch`, a
plain loop), the others are what a careful user builds (`benchmarks/careful_search.py`: `GPSampler`
and our trainer, with and without successive halving). All are processes of their own with the same
budget, space, data and short schedule. The measure is the time from the start of the process until
the front's hypervolume reaches the baseline's final one, for both sides. Another search, without
early stopping, shows what stopping saves and what it loses.
Run as `python runners/benchmark.py end-to-end --dataset NAME --json FILE`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from benchmarks.rows import RowFile
from nas.data import load_search_data
from nas.models.native import build as kernels
from nas.pareto import HypervolumeTracker
from nas.progress import Progress, shown, silent
from nas.space.cost import cost
from nas.space.limits import extreme
from nas.space.space import SearchSpace
from nas.study.front import finished_trials
from nas.study.storage.engine import open_storage, sqlite_url

ROOT = Path(__file__).parents[1]
SEARCH = ROOT / "runners" / "search.py"
BASELINE, OURS, NO_STOPPING = "baseline search", "ours", "ours, no stopping"
CAREFUL, HALVING = "careful baseline", "careful baseline, halving"
VERSIONS = (BASELINE, CAREFUL, HALVING, OURS, NO_STOPPING)
# The names of their figures, their modules, and what these are called with.
NAMES = {BASELINE: "baseline", CAREFUL: "careful", HALVING: "halving"}
BASELINES = {
    BASELINE: ("benchmarks.baseline_search",),
    CAREFUL: ("benchmarks.careful_search", "none"),
    HALVING: ("benchmarks.careful_search", "halving"),
}
KEY = ("version", "seed")
STUDY = "study"
REFERENCE_ERROR = 0.9  # of guessing among ten classes


@dataclass(frozen=True)
class Task:
    """The problem that every version searches."""

    space: Path
    budget: int
    dataset: str = "digits"
    data_dir: Path = Path("data")
    epochs: int | None = None  # of the short schedule; None: as it ships
    train_images: int | None = None

    def setting(self) -> dict[str, Any]:
        """The task as plain values, for the JSON file."""
        space = SearchSpace.from_yaml(self.space).to_dict()
        return {
            "space": space,
            "budget": self.budget,
            "dataset": self.dataset,
            "epochs": self.epochs,
            "train_images": self.train_images,
        }


def measure(
    task: Task,
    seeds: int,
    file: RowFile,
    progress: Progress = silent,
) -> None:
    """Run every version and seed that `file` lacks, versions in turns; each run is one row."""
    kernels.available()  # compiled into the user's cache, once per machine
    work = [(version, seed) for seed in range(seeds) for version in VERSIONS]
    left = [key for key in work if key not in file]

    def steps() -> Iterator[None]:
        for version, seed in left:
            file.add({"version": version, "seed": seed} | run(task, version, seed))
            yield

    for _ in progress(steps(), len(work), len(work) - len(left)):
        pass


def run(task: Task, version: str, seed: int) -> dict[str, Any]:
    """Seconds of the whole process, and its finished trials as [seconds, macs, accuracy].

    `training_seconds` is the sum over all trials of ours, None for a baseline.

    Raises:
        RuntimeError: the process failed; the message ends with its last line.
    """
    with tempfile.TemporaryDirectory(prefix="nas-end-to-end-") as name:
        folder = Path(name)
        # By default Ray's workers run at a lower priority than the rest of the machine.
        environment = os.environ | {"RAY_worker_niceness": "0"}
        if version in BASELINES:
            command = _baseline_command(BASELINES[version], task, seed, folder)
        else:
            search = ["-m", "benchmarks.no_stopping"] if version == NO_STOPPING else [str(SEARCH)]
            command = [sys.executable, *search, *_our_options(task, seed, folder)]
        began, start = time.time(), time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            raise RuntimeError(f"{version} ended with code {done.returncode}: {last[:300]}")
        ended_trials, trained = (
            (_baseline_trials(folder), None) if version in BASELINES else _our_trials(folder)
        )
    trials = [[ended - began, macs, accuracy] for ended, macs, accuracy in ended_trials]
    return {"seconds": seconds, "training_seconds": trained, "trials": trials}


def _our_options(task: Task, seed: int, folder: Path) -> list[str]:
    options: list[object] = ["--budget", task.budget, "--space", task.space.resolve()]
    options += ["--dataset", task.dataset, "--data-dir", task.data_dir.resolve()]
    options += ["--study", STUDY, "--results", folder, "--seed", seed]
    if task.epochs is not None:
        options += ["--epochs", task.epochs]
    if task.train_images is not None:
        options += ["--train-images", task.train_images]
    return [*map(str, options), "--quiet"]


def _our_trials(folder: Path) -> tuple[list[tuple[float, int, float]], float]:
    """(time, macs, accuracy) of each finished trial, and the training seconds of all trials."""
    storage = open_storage(sqlite_url(folder / STUDY / "study.db"))
    study = optuna.load_study(study_name=STUDY, storage=storage)
    trials = finished_trials(study)
    trained = sum(trial.user_attrs.get("seconds", 0.0) for trial in study.trials)
    storage.engine.dispose()
    finished = [
        (
            trial.datetime_complete.timestamp(),
            trial.user_attrs["macs"],
            trial.user_attrs["accuracy"],
        )
        for trial in trials
        if trial.datetime_complete is not None
    ]
    return finished, trained


def _baseline_command(program: tuple[str, ...], task: Task, seed: int, folder: Path) -> list[str]:
    module, *how = program
    options: list[object] = [*how, task.space.resolve(), task.dataset, task.data_dir.resolve()]
    options += [task.budget, seed, folder / "trials.json"]
    options += [task.epochs or "", task.train_images or ""]
    return [sys.executable, "-m", module, *map(str, options)]


def _baseline_trials(folder: Path) -> list[tuple[float, int, float]]:
    return [tuple(trial) for trial in json.loads((folder / "trials.json").read_text())]


def volumes(trials: Sequence[Sequence[float]], largest_macs: float) -> list[tuple[float, float]]:
    """(seconds, hypervolume in log10 macs and error) after each trial, in order of time."""
    tracker = HypervolumeTracker((math.log10(largest_macs), REFERENCE_ERROR))
    return [
        (seconds, tracker.add((math.log10(macs), 1 - accuracy)))
        for seconds, macs, accuracy in sorted(trials, key=lambda trial: trial[0])
    ]


def summarise(rows: Iterable[dict[str, Any]], largest_macs: float) -> list[dict[str, Any]]:
    """For each seed that has all versions: both times to each baseline's final hypervolume.

    Of a baseline called NAME (see `NAMES`) there are the `NAME_seconds` of the process, its final
    `NAME_volume`, `NAME_reached` and `ours_reached_NAME`, the times to that hypervolume, and
    `NAME_ratio`, that of the times; 0 where ours never gets there. `kept` and `trained` compare
    ours with the search without stopping.
    """
    runs = {(row["version"], row["seed"]): row for row in rows}
    summaries = []
    for seed in sorted({seed for _, seed in runs}):
        if not all((version, seed) in runs for version in VERSIONS):
            continue
        curves = {name: volumes(runs[name, seed]["trials"], largest_macs) for name in VERSIONS}
        final = {name: max((volume for _, volume in curves[name]), default=0.0) for name in curves}
        summary: dict[str, Any] = {
            "seed": seed,
            "ours_seconds": runs[OURS, seed]["seconds"],
            "ours_volume": final[OURS],
            "kept": final[OURS] / final[NO_STOPPING],
            "trained": runs[OURS, seed]["training_seconds"]
            / runs[NO_STOPPING, seed]["training_seconds"],
        }
        for version, name in NAMES.items():
            theirs = _reached(curves[version], final[version])
            ours = _reached(curves[OURS], final[version])
            summary |= {
                f"{name}_seconds": runs[version, seed]["seconds"],
                f"{name}_volume": final[version],
                f"{name}_reached": theirs,
                f"ours_reached_{name}": ours,
                f"{name}_ratio": 0.0 if ours is None or theirs is None else theirs / ours,
            }
        summaries.append(summary)
    return summaries


def _reached(curve: Sequence[tuple[float, float]], goal: float) -> float | None:
    """Seconds until a hypervolume is reached; None: never."""
    return next((seconds for seconds, volume in curve if volume >= goal), None)


def run_and_report(task: Task, seeds: int, json_path: Path | None) -> None:
    """Run what is missing, print a table, write the figures; an unfinished file is continued.

    Raises:
        ValueError: the file is of another setting.
        RuntimeError: one of the searches failed.
    """
    file = RowFile(json_path, task.setting(), KEY)
    measure(task, seeds, file, shown("searches"))
    summaries = summarise(file, largest(task))
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table(summaries))
    shown_medians = (*(f"{name}_ratio" for name in NAMES.values()), "kept", "trained")
    medians = {name: median(summary[name] for summary in summaries) for name in shown_medians}
    ratios = ", ".join(
        f"{medians[f'{name}_ratio']:.1f}x sooner than the {version}"
        for version, name in NAMES.items()
    )
    console.print(
        f"medians: {ratios}; stopping keeps {medians['kept']:.4f} of the hypervolume with "
        f"{medians['trained']:.3f} of the training seconds"
    )
    file.write({"summary": summaries, "medians": medians})
    if json_path is not None:
        console.print(f"written: {json_path}")


def largest(task: Task) -> int:
    """Multiply-adds of the space's largest architecture on the data set."""
    info = load_search_data(task.dataset, task.data_dir).info
    sizes = (info.image_size, info.in_channels, info.num_classes)
    space = SearchSpace.from_yaml(task.space)
    return cost(extreme(space, *sizes, lambda c: c.macs, largest=True), *sizes).macs


def table(summaries: Sequence[dict[str, Any]]) -> Table:
    """A row for each seed."""
    grid = Table(title="Seconds from the start of the process to a baseline's final hypervolume")
    grid.add_column("seed", justify="right")
    for version in NAMES:
        for column in (version, "ours", "ratio"):
            grid.add_column(column, justify="right")
    for column in ("hypervolume kept", "seconds trained"):
        grid.add_column(column, justify="right")
    for row in summaries:
        cells = [str(row["seed"])]
        for name in NAMES.values():
            cells += map(_seconds, (row[f"{name}_reached"], row[f"ours_reached_{name}"]))
            cells.append(f"{row[f'{name}_ratio']:.2f}x")
        grid.add_row(*cells, f"{row['kept']:.4f}", f"{row['trained']:.3f}")
    return grid


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"
