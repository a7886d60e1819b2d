"""Whole second searches: another data set, a longer schedule, a higher limit.

Each kind of second search is made twice, as a cold start and with the first search as its source
(`--from-study`). The measure is the number of trials and the seconds of training until the
hypervolume of its finished trials reaches the final one of the cold start, for both. The search
with a source gets half the trials of the cold start, and as many where half do not get it there.
Run as `python runners/benchmark.py second-search --folder DIR --json FILE`; the studies in DIR, and
so the whole measurement, continue where they were cut.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from benchmarks.end_to_end import REFERENCE_ERROR, ROOT, SEARCH
from benchmarks.rows import RowFile
from nas.models.native import build as kernels
from nas.pareto import HypervolumeTracker
from nas.progress import shown
from nas.study.storage.engine import open_storage, sqlite_url

LIMIT = 4_000_000  # multiply-adds of the second searches
FASHION = ("--dataset", "fashion-mnist", "--max-macs")
# Name of a search: its options.
SEARCHES = {
    "digits": ("--dataset", "digits"),
    "short": (*FASHION, str(LIMIT)),
    "long": (*FASHION, str(LIMIT), "--epochs", "16"),
    "small": (*FASHION, str(LIMIT // 4)),
}
# Kind of second search: the first and the second one.
KINDS = {
    "digits to Fashion-MNIST": ("digits", "short"),
    "8 to 16 epochs": ("short", "long"),
    "at most 1 M to 4 M multiply-adds": ("small", "short"),
}
KEY = ("kind", "seed")


@dataclass(frozen=True)
class SecondSearches:
    """What is searched, and where the studies are kept."""

    folder: Path
    budget: int = 100  # trials of a first search and of a cold start
    space: Path = ROOT / "search_spaces" / "dyclotnet.yaml"
    data_dir: Path = Path("data")

    def run(self, seed: int, name: str, source: str | None = None, share: float = 1) -> Path:
        """Make or continue a search of a share of the trials.

        Args:
            seed: the sampler's and the trainings'.
            name: one of `SEARCHES`.
            source: an earlier search of the same seed.
            share: of the budget.

        Returns:
            The database of its study.

        Raises:
            RuntimeError: the search failed; the message ends with its last line.
        """
        results = self.folder / f"seed-{seed}"
        study = name if source is None else f"{name}-from-{source}"
        command = [sys.executable, str(SEARCH), *SEARCHES[name], "--quiet"]
        command += ["--study", study, "--results", str(results), "--seed", str(seed)]
        command += ["--budget", str(round(share * self.budget))]
        command += [
            "--space",
            str(self.space.resolve()),
            "--data-dir",
            str(self.data_dir.resolve()),
        ]
        if source is not None:
            command += ["--from-study", str((results / source).resolve())]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"RAY_worker_niceness": "0"},  # by default lower than all else
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            raise RuntimeError(f"{study} ended with code {done.returncode}: {last[:300]}")
        return results / study / "study.db"

    def compare(self, kind: str, seed: int) -> dict[str, Any]:
        """Both second searches of a kind; the searches that exist are read."""
        first, second = KINDS[kind]
        self.run(seed, first)
        cold = progress_of(self.run(seed, second))
        for share in (0.5, 1):
            found = compare(cold, progress_of(self.run(seed, second, first, share)))
            if found["source_trials"] is not None:
                break
        return {"kind": kind, "seed": seed} | found


def progress_of(database: Path) -> list[tuple[float, float]]:
    """(training seconds so far, hypervolume so far) after each trial that ended, in order.

    The hypervolume is that of log10 multiply-adds and error, below `LIMIT` and guessing among ten
    classes.
    """
    storage = open_storage(sqlite_url(database))
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    storage.engine.dispose()
    ended = [(t.datetime_complete, t.number, t) for t in trials if t.datetime_complete is not None]
    tracker, seconds, progress = HypervolumeTracker((math.log10(LIMIT), REFERENCE_ERROR)), 0.0, []
    for _, _, trial in sorted(ended):
        seconds += trial.user_attrs.get("seconds", 0.0)
        if trial.state == TrialState.COMPLETE:
            macs, accuracy = trial.user_attrs["macs"], trial.user_attrs["accuracy"]
            tracker.add((math.log10(macs), 1 - accuracy))
        progress.append((seconds, tracker.volume))
    return progress


def compare(
    cold: Sequence[tuple[float, float]], warm: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """Trials and training seconds until the cold start's final hypervolume, of both.

    None where the search with a source does not reach it; `share` is its hypervolume after half
    the cold start's trials as a share of the cold start's final one.
    """
    goal, half = cold[-1][1], min(len(warm), len(cold) // 2)
    found: dict[str, Any] = {"share": warm[half - 1][1] / goal}
    for name, curve in (("cold", cold), ("source", warm)):
        reached = next((n for n, (_, volume) in enumerate(curve) if volume >= goal), None)
        found[f"{name}_trials"] = None if reached is None else reached + 1
        found[f"{name}_seconds"] = None if reached is None else curve[reached][0]
    return found


def run_and_report(searches: SecondSearches, seeds: int, json_path: Path | None) -> None:
    """Make what is missing, print a table, write the rows.

    Raises:
        ValueError: the file is of another setting.
        RuntimeError: a search failed.
    """
    setting = {"budget": searches.budget, "space": searches.space.name, "limit": LIMIT}
    file = RowFile(json_path, setting, KEY)
    kernels.available()  # compiled into the user's cache, once per machine
    work = [(kind, seed) for seed in range(seeds) for kind in KINDS]
    left = [key for key in work if key not in file]

    def steps() -> Iterator[None]:
        for kind, seed in left:
            file.add(searches.compare(kind, seed))
            yield

    for _ in shown("second searches")(steps(), len(work), len(work) - len(left)):
        pass
    summary = summarise(list(file))
    file.write({"summary": summary})
    Console(width=None if Console().is_terminal else 150).print(table(list(file), summary))


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each kind the medians over seeds of the shares that the search with a source took.

    A search that does not reach the goal counts as infinitely long, and a median of such as None.
    """
    summary = []
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        line: dict[str, Any] = {"kind": kind, "seeds": len(own)}
        for unit in ("trials", "seconds"):
            shares = median(
                math.inf if row[f"source_{unit}"] is None
                else row[f"source_{unit}"] / row[f"cold_{unit}"]
                for row in own
            )  # fmt: skip
            line[unit] = shares if math.isfinite(shares) else None
        summary.append(line | {"hypervolume": median(row["share"] for row in own)})
    return summary


def table(rows: Sequence[dict[str, Any]], summary: Sequence[dict[str, Any]]) -> Table:
    """A row for each kind and seed, and the medians."""
    grid = Table(title="Until the cold start's final hypervolume")
    for column in ("second search", "seed", "trials, cold", "with the source", "training s, cold",
                   "with the source", "hypervolume at half"):  # fmt: skip
        grid.add_column(column, justify="left" if column == "second search" else "right")
    for row in rows:
        numbers = [
            "never" if row[f"{name}_{unit}"] is None else f"{row[f'{name}_{unit}']:.0f}"
            for unit in ("trials", "seconds")
            for name in ("cold", "source")
        ]
        grid.add_row(row["kind"], str(row["seed"]), *numbers, f"{row['share']:.3f}")
    for line in summary:
        trials, seconds = (
            "never" if line[unit] is None else f"{line[unit]:.2f}x"
            for unit in ("trials", "seconds")
        )
        grid.add_row(line["kind"], "median", "", trials, "", seconds, f"{line['hypervolume']:.3f}")
    return grid
