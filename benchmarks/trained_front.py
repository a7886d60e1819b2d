"""What a trained front costs: from the start of a search to four trained networks.

The commands of this version and those of an earlier one, one after another, so on a machine that
does nothing else: a search of Fashion-MNIST, four networks over the range of its front trained in
full, the middle two with a second seed. The earlier commands train for 20 epochs at the best of
three learning rates, today's for 7 at a rate that short runs choose.
Run as `python runners/benchmark.py trained-front --earlier DIR --json FILE`, where DIR is a
checkout of the earlier version. Runs that were interrupted begin anew, since they are timed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.commands import ROOT, run_command
from benchmarks.rows import RowFile, print_table
from nas.format import format_count
from nas.models.native import build as kernels
from nas.progress import shown
from nas.retrain.differences import mean_difference
from nas.retrain.statistics import estimate_noise

KEY = ("version", "seed")
EARLIER, TODAY = VERSIONS = ("earlier", "today")
NETWORKS = 4
STEPS = ("search", "first seeds", "second seeds")
TRAINING: dict[str, tuple[object, ...]] = {
    EARLIER: ("--epochs", 20, "--learning-rate", "0.1,0.2,0.4"),
    TODAY: ("--epochs", 7, "--learning-rate", "auto"),
}


@dataclass(frozen=True)
class Runs:
    """Where the runs are kept, and how long their searches are."""

    folder: Path
    earlier: Path  # a checkout
    budget: int = 200  # trials
    max_macs: str = "4M"
    data_dir: Path = Path("data")
    dataset: str = "fashion-mnist"
    training: Mapping[str, tuple[object, ...]] = field(default_factory=lambda: TRAINING)

    def run(self, version: str, seed: int) -> Iterator[tuple[str, float]]:
        """Each step and its seconds, as it ends.

        Raises:
            RuntimeError: a command failed.
        """
        root = self.root(version)
        study = self.study(version, seed)
        shutil.rmtree(study, ignore_errors=True)
        data = ("--data-dir", self.data_dir.resolve(), "--quiet")
        train = (study / "front.json", *self.training[version], *data)
        start = time.perf_counter()
        run_command(
            "search",
            *("--dataset", self.dataset, "--max-macs", self.max_macs),
            *("--budget", self.budget, "--seed", seed),
            *("--results", study.parent, "--study", study.name, *data),
            root=root,
        )
        searched = time.perf_counter()
        yield STEPS[0], searched - start
        run_command("retrain", *train, "--select", f"spread:{NETWORKS}", root=root)
        trained = time.perf_counter()
        yield STEPS[1], trained - searched
        networks = trained_networks(study)
        if len(networks) != NETWORKS:
            raise RuntimeError(
                f"{study}: {len(networks)} of {NETWORKS} networks, as its front has no more; "
                "accepted: a larger --budget"
            )
        middle = [network["network"] for network in networks[1:3]]
        # The earlier version selects one network by name at a time.
        for names in middle if version == EARLIER else [",".join(middle)]:
            run_command("retrain", *train, "--select", names, "--seeds", 2, root=root)
        yield STEPS[2], time.perf_counter() - trained

    def root(self, version: str) -> Path:
        """The checkout of a version."""
        return {EARLIER: self.earlier.resolve(), TODAY: ROOT}[version]

    def study(self, version: str, seed: int) -> Path:
        """The folder of a run's study."""
        return self.folder.resolve() / f"{version}-{seed}"


def trained_networks(study: Path) -> list[dict[str, Any]]:
    """The networks that are trained in full, cheapest first, with an accuracy for each seed."""
    networks = []
    for file in (study / "retrained").glob("*/metrics.json"):
        seeds = [file, *sorted(file.parent.glob("seed-*/metrics.json"))]
        runs = [json.loads(one.read_bytes()) for one in seeds]
        networks.append({
            "network": runs[0]["network"],
            "macs": runs[0]["macs"],
            "learning_rate": runs[0]["learning_rate"],
            "test_images": runs[0]["test_images"],
            "test_accuracy": fmean(run["test_accuracy"] for run in runs),
            "test_accuracies": [run["test_accuracy"] for run in runs],
        })  # fmt: skip
    return sorted(networks, key=lambda network: network["macs"])


def run_and_report(runs: Runs, seeds: int, json_path: Path | None) -> None:
    """Make what is missing, print a table, write the rows.

    Raises:
        ValueError: the file is of another setting, or the earlier version's folder is not one.
        RuntimeError: a command failed.
    """
    if not (runs.earlier / "runners" / "search.py").exists():
        raise ValueError(
            f"--earlier: {runs.earlier} has no runners/search.py; accepted: a checkout of an "
            "earlier version of this project"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    setting = {
        "dataset": runs.dataset,
        "budget": runs.budget,
        "max_macs": runs.max_macs,
        "cores": cores,
        "earlier": _commit(runs.earlier),
        "torch": torch.__version__,
        "training": {name: list(options) for name, options in runs.training.items()},
    }
    file = RowFile(json_path, setting, KEY)
    kernels.available()  # compiled into the user's cache, once per machine
    work = [(version, seed) for seed in range(seeds) for version in VERSIONS]
    left = [key for key in work if key not in file]

    def steps() -> Iterator[None]:
        for version, seed in left:
            seconds = {}
            for step, taken in runs.run(version, seed):
                seconds[step] = taken
                if step == STEPS[-1]:
                    networks = trained_networks(runs.study(version, seed))
                    file.add({
                        "version": version,
                        "commit": _commit(runs.root(version)),
                        "seed": seed,
                        "seconds": seconds,
                        "networks": networks,
                    })  # fmt: skip
                yield

    for _ in shown("steps")(steps(), len(STEPS) * len(work), len(STEPS) * (len(work) - len(left))):
        pass
    summaries = summarise(list(file), cores or 1)
    file.write({"summary": summaries})
    print_table(version_rows(list(file)))
    print_table(comparison_rows(summaries))


def _commit(checkout: Path) -> str:
    """The commit that is checked out.

    Raises:
        ValueError: there is none.
    """
    asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(f"--earlier: {checkout} is no git checkout; accepted: a worktree")
    return done.stdout.strip()


def summarise(rows: Sequence[dict[str, Any]], cores: int) -> list[dict[str, Any]]:
    """Of each seed: core-hours of both versions, their ratio, and the difference in accuracy.

    The networks of both are paired in order of cost; the mean of the pairs' differences has the
    noise between seeds of all of them, see `mean_difference`.
    """
    summaries = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        by_version = {row["version"]: row for row in rows if row["seed"] == seed}
        if set(by_version) != set(VERSIONS):
            continue
        earlier, today = (by_version[version] for version in VERSIONS)
        hours = {
            version: cores * sum(by_version[version]["seconds"].values()) / 3600
            for version in VERSIONS
        }
        networks = [*earlier["networks"], *today["networks"]]
        noise = estimate_noise(
            [network["test_accuracies"] for network in networks], networks[0]["test_images"]
        )
        pairs = list(zip(today["networks"], earlier["networks"], strict=True))
        summaries.append(
            {"seed": seed, "core_hours": hours, "ratio": hours[TODAY] / hours[EARLIER]}
            | mean_difference(pairs, noise, comparisons=1)
        )
    return summaries


def version_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A heading, and for each run its minutes and test accuracies."""
    heading = ["version (commit)", "seed", "search, min", "trainings, min",
               *("test accuracy (multiply-adds)",) * NETWORKS]  # fmt: skip
    lines = []
    for row in sorted(rows, key=lambda row: (row["seed"], VERSIONS.index(row["version"]))):
        search, *trainings = (row["seconds"][step] / 60 for step in STEPS)
        lines.append([
            f"{row['version']} ({row['commit'][:7]})", str(row["seed"]),
            f"{search:.0f}", f"{sum(trainings):.0f}",
            *(f"{100 * one['test_accuracy']:.2f} % ({format_count(one['macs'])})"
              for one in row["networks"]),
        ])  # fmt: skip
    return [heading, *lines]


def comparison_rows(summaries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A heading, and for each seed what today's version takes and gives beside the earlier one."""
    heading = ["seed", "core-hours, earlier", "core-hours, today", "ratio",
               "test accuracy, points more", "fewer errors (95 % interval)"]  # fmt: skip
    return [heading, *(
        [
            str(of["seed"]), *(f"{of['core_hours'][version]:.2f}" for version in VERSIONS),
            f"{of['ratio']:.2f}", f"{100 * of['difference']:+.2f}",
            f"{100 * of['fewer_errors']:.1f} % ({100 * of['low']:.1f} to {100 * of['high']:.1f})",
        ]
        for of in summaries
    )]  # fmt: skip
