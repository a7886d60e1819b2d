"""Whole second searches: another data set, a longer schedule, a higher limit.

Each kind of second search is made twice, as a cold start and with the first search as its source
(`--from-study`). The measure is the number of trials and the seconds of training until the
hypervolume of its finished trials reaches the final one of the cold start, for both. Much of the
last gain of a search is noise of the validation split, so the benchmark also says what the cold
start takes for the hypervolume that the search with a source has after some of its trials. The
search with a source gets half the trials of the cold start, and as many if half are not enough.
Run as `python runners/benchmark.py second-search --folder DIR --json FILE`; the studies in DIR, and
so the whole measurement, continue where they were cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks.commands import ROOT, run_command
from benchmarks.end_to_end import REFERENCE_ERROR
from benchmarks.rows import RowFile, print_table
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
MARKS = (0.1, 0.25, 0.5)  # of the cold start's trials


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
        options: list[object] = [*SEARCHES[name], "--quiet", "--study", study, "--seed", seed]
        options += ["--results", results.resolve(), "--budget", round(share * self.budget)]
        options += ["--space", self.space.resolve(), "--data-dir", self.data_dir.resolve()]
        if source is not None:
            options += ["--from-study", (results / source).resolve()]
        run_command("search", *options)
        return results / study / "study.db"

    def compare(self, kind: str, seed: int) -> dict[str, Any]:
        """Both second searches of a kind; the searches that exist are read."""
        first, second = KINDS[kind]
        self.run(seed, first)
        cold = progress_of(self.run(seed, second))
        for share in (0.5, 1):
            row = compare(cold, progress_of(self.run(seed, second, first, share)))
            if row["source"] is not None:
                break
        return {"kind": kind, "seed": seed} | row


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
    """What a search with a source takes beside a cold start.

    Args:
        cold: see `progress_of`.
        warm: the same of the search with a source.

    Returns:
        `cold` and `source`, until the cold start's final hypervolume; and for each of `MARKS`
        `source`, what the search with a source took until then, `share`, its hypervolume as a
        share of the cold start's final one, and `cold`, until the cold start has as much. What was
        taken is a pair of trials and seconds of training, or None where that is never reached.
    """
    goal = cold[-1][1]
    marks = []
    for mark in MARKS:
        trials = min(len(warm), round(mark * len(cold)))
        seconds, volume = warm[trials - 1]
        marks.append(
            {"source": (trials, seconds), "share": volume / goal, "cold": _until(cold, volume)}
        )
    return {"cold": _until(cold, goal), "source": _until(warm, goal), "marks": marks}


def _until(progress: Sequence[tuple[float, float]], goal: float) -> tuple[int, float] | None:
    """Trials and seconds of training until a hypervolume is reached."""
    for trials, (seconds, volume) in enumerate(progress, 1):
        if volume >= goal:
            return trials, seconds
    return None


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
    file.write({"summary": summarise(list(file))})
    print_table(second_search_rows(list(file)))


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the seeds of each kind; None where the median search never gets there.

    Returns:
        For each kind `seeds`; `trials` and `seconds` until the cold start's final hypervolume, as
        shares of the cold start's; and for each of `MARKS` the `share` of that hypervolume, and
        the `trials` and `seconds` that a cold start takes for as much, as multiples.
    """
    summary = []
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        line: dict[str, Any] = {"kind": kind, "seeds": len(own)}
        line |= _ratios([(row["source"], row["cold"]) for row in own])
        line["marks"] = [
            {"share": median(mark["share"] for mark in marks)}
            | _ratios([(mark["cold"], mark["source"]) for mark in marks])
            for marks in zip(*(row["marks"] for row in own), strict=True)
        ]
        summary.append(line)
    return summary


def _ratios(pairs: Sequence[tuple[Any, Any]]) -> dict[str, float | None]:
    """Medians of what was taken of each pair, the first over the second."""
    medians: dict[str, float | None] = {}
    for position, unit in enumerate(("trials", "seconds")):
        ratios = [
            math.inf if first is None else first[position] / second[position]
            for first, second in pairs
        ]
        medians[unit] = median(ratios) if math.isfinite(median(ratios)) else None
    return medians


def second_search_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A heading; a line for each search and each kind: what a cold start takes for as much."""
    heading = ["second search", "seed"]
    for mark in MARKS:
        heading += [f"hypervolume after {mark:.0%} of the trials", "times less: trials, training s"]
    heading.append("cold start's final one reached with")
    lines = []
    for line in summarise(rows):
        for row in (row for row in rows if row["kind"] == line["kind"]):
            (alone,) = summarise([row])
            lines.append([row["kind"], str(row["seed"]), *_cells(alone)])
        lines.append([line["kind"], "median", *_cells(line)])
    return [heading, *lines]


def _cells(line: dict[str, Any]) -> list[str]:
    cells = []
    for mark in line["marks"]:
        cells += [f"{mark['share']:.3f}", f"{_times(mark['trials'])}, {_times(mark['seconds'])}"]
    reached = line["trials"]
    text = "not with as many trials"
    if reached is not None:
        text = f"{reached:.2f} of the trials, {line['seconds']:.2f} of the training s"
    return [*cells, text]


def _times(ratio: float | None) -> str:
    return "never" if ratio is None else f"{ratio:.1f}x"
