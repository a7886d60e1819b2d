"""One whole search on a GPU, from the start of its process to its front.

It has known-cost sampling, the short schedule and early stopping, as a user's search, and ends
when its budget or its time is reached. Measured beside it: the utilisation of the GPU, the share
of the time that slots wait for a trial, and the accuracy of members of the front that are
trained again with nothing beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from benchmarks.gpu_setting import Setting, main, row
from benchmarks.training import in_colour, shrink
from nas.space.arch import Arch
from nas.study.plan import Plan, make_plan
from nas.study.request import Request
from nas.study.study import Candidate, SearchStudy
from nas.training import Trainer, build
from nas.tune.resources import this_machine
from nas.tune.search import search

CHILD = "NAS_GPU_SEARCH"  # set in the process of the search
BUDGET = 100
TIMEOUT = 150.0  # seconds of a search; what it did by then is reported


def run(setting: Setting) -> None:
    """Search in a process of its own and describe it, then train members alone."""
    if CHILD in os.environ:
        searched(setting)
        return
    with Utilisation(setting.device) as utilisation:
        start = time.time()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu_search", *sys.argv[1:]],
            env=os.environ | {CHILD: "1", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        seconds = time.time() - start
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"the search ended with code {done.returncode}")
    found = lines[-1]
    figures = describe(found["trials"], found["slots"], start)
    row(what="search", seconds=seconds, **utilisation.summary(), **figures, **found)
    data = setting.data()
    for member in found["members"][:: max(1, len(found["members"]) // 3)]:
        seed, start = int(member["seed"]), time.perf_counter()
        network = build(Arch.from_dict(member["arch"]), data.info, seed)
        recipe = setting.recipe
        trial = Trainer(network, data, recipe, seed=seed, device=setting.device, threads=1)
        for _ in range(recipe.epochs):
            trial.train_epoch()
        row(
            what="alone", macs=member["macs"], accuracy=trial.evaluate(),
            searched=member["accuracy"], seconds=time.perf_counter() - start,
        )  # fmt: skip


def plan(setting: Setting) -> Plan:
    """A user's request, with the images in colour."""
    made = make_plan(
        Request(
            budget=3 if setting.toy else BUDGET,
            dataset="digits" if setting.toy else "fashion-mnist",
            data_dir=setting.data_dir,
            image_size=None if setting.toy else 32,
            study="gpu",
            results=setting.scratch,
            timeout=TIMEOUT,
            recipe="short-gpu",
            overrides={"epochs": 2, "batch_size": 64} if setting.toy else {},
            max_macs=2_000_000 if setting.toy else None,
        ),
        this_machine(),
        download=False,
    )
    data = in_colour(shrink(made.data, 256, 128, 8) if setting.toy else made.data)
    return replace(made, data=data, config=replace(made.config, dataset=data.info))


def searched(setting: Setting) -> None:
    """The process of the search."""
    made = plan(setting)
    result = search(made, _silent)
    attributes = ("macs", "accuracy", "seconds", "epochs", "reason")
    trials = [
        {
            "state": trial.state.name,
            "start": trial.datetime_start.timestamp(),
            "end": trial.datetime_complete.timestamp(),
            **{name: trial.user_attrs.get(name) for name in attributes},
        }
        for trial in result.study.study.get_trials(deepcopy=False)
        if trial.datetime_start and trial.datetime_complete
    ]
    members = [
        {name: member.attributes[name] for name in ("arch", "seed", "macs", "accuracy")}
        for member in result.members
    ]
    ended = "budget reached" if result.ended is None else result.ended.why
    row(
        ended=ended, slots=made.concurrency, gpus_per_trial=made.gpus_per_trial,
        members=members, trials=trials,
    )  # fmt: skip


class _Silent:
    def started(self, candidate: Candidate) -> None:
        pass

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None:
        pass

    def ended(self, candidate: Candidate, state: str, detail: str) -> None:
        pass


@contextmanager
def _silent(study: SearchStudy, received: Sequence[int]) -> Iterator[_Silent]:
    yield _Silent()


def describe(trials: list[dict[str, Any]], slots: int, start: float) -> dict[str, Any]:
    """Counts, and the share of the slots' time that no trial trained in.

    Args:
        trials: with `start` and `end`, seconds on the clock of `start`.
        slots: trials that can train at once.
        start: when the process of the search started.
    """
    ran = [trial for trial in trials if trial["seconds"]]
    first, last = min(t["start"] for t in ran), max(t["end"] for t in ran)
    states = {"finished": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    counts = {name: sum(t["state"] == state for t in trials) for name, state in states.items()}
    return counts | {
        "first_trial_s": first - start,
        "last_trial_s": last - start,
        "epochs": sum(trial["epochs"] or 0 for trial in ran),
        "waiting_share": 1 - sum(t["seconds"] for t in ran) / (slots * (last - first)),
    }


class Utilisation:
    """Utilisation and memory of the GPU, read twice a second."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._readings: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Utilisation:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used"]
        command += ["--format=csv,noheader,nounits"]
        while self._cuda and not self._ended.wait(0.5):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                used, memory = map(float, done.stdout.splitlines()[0].split(","))
                self._readings.append((used, memory))

    def summary(self) -> dict[str, Any]:
        """Mean utilisation in per cent, and the most memory in MiB."""
        if not self._readings:
            return {}
        used, memory = zip(*self._readings, strict=True)
        return {"utilisation": fmean(used), "most_memory_mib": max(memory), "readings": len(used)}


if __name__ == "__main__":
    main(run)
