"""SIGINT and SIGTERM at random moments: a clean end, and it goes on to its end afterwards."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers import ROOT, Search, ended, heed_sigint
from optuna.trial import TrialState

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt(search: Search, number: signal.Signals, rng: random.Random) -> float | None:
    """Start, signal at a random moment, check; seconds to the end, None if it ended before."""
    driver = search.start()
    if rng.random() < 0.3:
        time.sleep(rng.uniform(3, 15))
    else:
        aim = rng.randint(search.finished(), search.budget - 1)
        search.wait_until(lambda: search.finished() >= aim, driver)
        time.sleep(rng.uniform(0, 1))
    while driver.poll() is None and not heeds(driver, number):
        time.sleep(0.01)  # the interpreter starts
    if driver.poll() is not None:
        assert ended(driver).returncode == 0
        return None
    start = time.monotonic()
    driver.send_signal(number)
    done = ended(driver)
    seconds = time.monotonic() - start
    if done.returncode != 0:  # 0: it was about to end
        # -number: while Ray ended, when the default of the signal is in force
        assert done.returncode in (128 + number, -number), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    if search.finished():
        search.remember()
        assert not [t for t in search.trials() if t.state == TrialState.RUNNING]
    return seconds


def heeds(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether the process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.faults
@pytest.mark.parametrize("number", SIGNALS, ids=["SIGINT", "SIGTERM"])
def test_searches(
    make_search: Callable[..., Search], record: Callable[..., None], number: signal.Signals
) -> None:
    rng, took = random.Random(str(number)), []
    search = make_search(budget=20, epochs=4, images=1000)
    for _ in range(10):
        seconds = interrupt(search, number, rng)
        took += [] if seconds is None else [round(seconds, 1)]
        if search.finished() >= search.budget:
            search = make_search(folder=search.folder / "next", budget=20, epochs=4, images=1000)
            search.folder.mkdir()
    done = search.run()
    assert done.returncode == 0, done.stderr
    search.assert_true()
    record(signals=len(took), seconds_to_the_end=took)


@pytest.mark.faults
@pytest.mark.parametrize("number", SIGNALS, ids=["SIGINT", "SIGTERM"])
def test_retraining(
    make_search: Callable[..., Search], record: Callable[..., None], number: signal.Signals
) -> None:
    search = make_search(budget=4)
    assert search.run().returncode == 0
    options = ("--epochs", "200", "--threads", "1")
    rng, signals = random.Random(f"retrain {number}"), 0
    history = search.home / "retrained"
    for _ in range(10):
        process = start_retraining(search, options)
        before = epochs(history)
        aim = before + rng.randint(0, 4)
        while process.poll() is None and epochs(history) < aim + 1:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.2))
        if process.poll() is None:
            process.send_signal(number)
            signals += 1
        done = ended(process)
        assert done.returncode in (0, 128 + number), done.stderr
        assert "Traceback" not in done.stderr
        assert epochs(history) >= before
    assert ended(start_retraining(search, options)).returncode == 0
    (file,) = history.glob("*/history.csv")
    rows = list(csv.DictReader(file.open()))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 201))
    assert json.loads((file.parent / "metrics.json").read_text())["epochs"] == 200
    record(signals=signals)


@pytest.mark.faults
@pytest.mark.parametrize("number", SIGNALS, ids=["SIGINT", "SIGTERM"])
def test_two_retrainings_at_a_time(
    make_search: Callable[..., Search], record: Callable[..., None], number: signal.Signals
) -> None:
    """Under Ray, whose own calls make another exit of a signal."""
    search = make_search(budget=4)
    assert search.run().returncode == 0
    options = ("--epochs", "2000", "--seeds", "2", "--concurrency", "2")
    took = []
    for _ in range(3):
        process = start_retraining(search, options)
        before = epochs(search.home / "retrained")
        while process.poll() is None and epochs(search.home / "retrained") < before + 3:
            time.sleep(0.05)
        start = time.monotonic()
        process.send_signal(number)
        done = ended(process)
        took.append(round(time.monotonic() - start, 1))
        assert done.returncode == 128 + number, done.stderr
        assert "interrupted; to continue: " in done.stderr
        assert "Traceback" not in done.stderr
        assert epochs(search.home / "retrained") >= before + 3
    record(seconds_to_the_end=took)


def start_retraining(search: Search, options: tuple[str, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "runners/retrain.py"),
            str(search.home / "front.json"),
            *options,
        ],
        cwd=search.folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_sigint,
    )


def epochs(folder: Path) -> int:
    """Epochs recorded in the one network's history."""
    files = list(folder.glob("*/history.csv"))
    return len(files[0].read_text().splitlines()) - 1 if files else 0
