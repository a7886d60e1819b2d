"""Whole searches against two baseline searches in Ray Tune.

One baseline is what the documentation shows (`benchmarks/baseline_search.py`: `OptunaSearch`, a
plain loop), the other what a careful user builds (`benchmarks/careful_search.py`: `GPSampler`,
our trainer, successive halving). All are processes of their own with the same budget, space,
data and short schedule. The measure is the time from the start of the process until the front's
hypervolume reaches the baseline's final one, for both sides. Another search, without early
stopping, shows what stopping saves and what it loses.
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
BASELINE, COLD, WARM = "baseline search", "ours, cold", "ours, warm"  # cold: kernels not compiled
NO_STOPPING = "ours, warm, no stopping"
CAREFUL = "careful baseline"
VERSIONS = (BASELINE, CAREFUL, COLD, WARM, NO_STOPPING)
BASELINES = {BASELINE: "benchmarks.baseline_search", CAREFUL: "benchmarks.careful_search"}
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
    kernels.available()  # compiled into the user's cache: warm from here on
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
        if version == COLD:
            environment |= {"NAS_CACHE_DIR": str(folder)}
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


def _baseline_command(module: str, task: Task, seed: int, folder: Path) -> list[str]:
    options: list[object] = [task.space.resolve(), task.dataset, task.data_dir.resolve()]
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
    """For each seed that has all versions: both times to a baseline's final hypervolume.

    `cold_faster` and `warm_faster` are ratios of the times to the final hypervolume of the plain
    baseline, `careful_faster` to that of the careful one; 0 where ours never gets there. `kept`
    and `trained` compare ours with the search without stopping.
    """
    runs = {(row["version"], row["seed"]): row for row in rows}
    summaries = []
    for seed in sorted({seed for _, seed in runs}):
        if not all((version, seed) in runs for version in VERSIONS):
            continue
        curves = {name: volumes(runs[name, seed]["trials"], largest_macs) for name in VERSIONS}
        final = {name: max((volume for _, volume in curves[name]), default=0.0) for name in curves}
        summary: dict[str, Any] = {"seed": seed}
        for baseline, name in ((BASELINE, "baseline"), (CAREFUL, "careful")):
            summary |= {
                f"{name}_seconds": runs[baseline, seed]["seconds"],
                f"{name}_reached": _reached(curves[baseline], final[baseline]),
                f"{name}_volume": final[baseline],
            }
        for version, name in ((COLD, "cold"), (WARM, "warm")):
            reached = _reached(curves[version], final[BASELINE])
            summary |= {
                f"{name}_seconds": runs[version, seed]["seconds"],
                f"{name}_reached": reached,
                f"{name}_volume": final[version],
                f"{name}_faster": _ratio(summary["baseline_reached"], reached),
            }
        reached = _reached(curves[WARM], final[CAREFUL])
        summary |= {
            "warm_reached_careful": reached,
            "careful_faster": _ratio(summary["careful_reached"], reached),
            "kept": final[WARM] / final[NO_STOPPING],
            "trained": runs[WARM, seed]["training_seconds"]
            / runs[NO_STOPPING, seed]["training_seconds"],
        }
        summaries.append(summary)
    return summaries


def _reached(curve: Sequence[tuple[float, float]], goal: float) -> float | None:
    """Seconds until a hypervolume is reached; None: never."""
    return next((seconds for seconds, volume in curve if volume >= goal), None)


def _ratio(theirs: float, ours: float | None) -> float:
    return 0.0 if ours is None else theirs / ours


def run_and_report(task: Task, seeds: int, json_path: Path | None) -> None:
    """Run what is missing, print a table, write the figures; an unfinished file is continued.

    Raises:
        ValueError: the file is of another setting.
        RuntimeError: one of the searches failed.
    """
    file = RowFile(json_path, task.setting(), KEY)
    measure(task, seeds, file, shown("searches"))
    summaries = summarise(file, largest(task))
    console = Console(width=None if Console().is_terminal else 100)
    console.print(table(summaries))
    medians = {
        name: median(summary[name] for summary in summaries)
        for name in ("cold_faster", "warm_faster", "careful_faster", "kept", "trained")
    }
    console.print(
        f"medians: {medians['warm_faster']:.1f}x sooner, {medians['cold_faster']:.1f}x with the "
        f"kernels compiled first, {medians['careful_faster']:.1f}x than the careful baseline; "
        f"stopping keeps {medians['kept']:.4f} of the hypervolume with "
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
    of_baseline = ("baseline", "ours, cold", "ours, warm", "ratio, cold", "warm")
    of_careful = ("careful baseline", "ours, warm", "ratio")
    for column in ("seed", *of_baseline, *of_careful, "hypervolume kept", "seconds trained"):
        grid.add_column(column, justify="right")
    for row in summaries:
        grid.add_row(
            str(row["seed"]),
            *map(_seconds, (row["baseline_reached"], row["cold_reached"], row["warm_reached"])),
            f"{row['cold_faster']:.2f}x",
            f"{row['warm_faster']:.2f}x",
            *map(_seconds, (row["careful_reached"], row["warm_reached_careful"])),
            f"{row['careful_faster']:.2f}x",
            f"{row['kept']:.4f}",
            f"{row['trained']:.3f}",
        )
    return grid


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"
