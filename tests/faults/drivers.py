"""Searches as a user starts them, to be killed, continued and checked."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from nas.study.front import LIKELY
from nas.study.storage.engine import open_storage, sqlite_url
from nas.study.storage.lock import lock_owner, lock_study

ROOT = Path(__file__).parent.parent.parent
MARK = "NAS_FAULTS_ID"  # in the environment of every process of a search


@dataclass
class Search:
    """One study of tiny trials on the digits, and the drivers that work on it."""

    folder: Path
    storage: str | None = None  # URL; None: SQLite in the study's folder
    budget: int = 40
    options: tuple[str, ...] = ("--sampler", "random")
    epochs: int = 1
    images: int = 100  # of the training split
    name: str = "t"
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    known: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # COMPLETE trials seen

    @property
    def url(self) -> str:
        return self.storage or sqlite_url(self.home / "study.db")

    @property
    def home(self) -> Path:
        return self.folder / "results" / self.name

    @property
    def log(self) -> str:
        file = self.home / "search.log"
        return file.read_text() if file.exists() else ""

    def command(self) -> list[str]:
        return [
            *(sys.executable, str(ROOT / "runners/search.py"), "--quiet", "--study", self.name),
            *("--space", str(ROOT / "search_spaces/tiny.yaml"), "--dataset", "digits"),
            *("--budget", str(self.budget), "--epochs", str(self.epochs)),
            *("--train-images", str(self.images), *self.options),
        ]

    def start(self) -> subprocess.Popen[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", MARK: self.mark} | self.environment
        environment.pop("NAS_STORAGE", None)
        if self.storage is not None:
            environment["NAS_STORAGE"] = self.storage
        return subprocess.Popen(
            self.command(),
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_sigint,
        )

    def run(self, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        driver = self.start()
        return ended(driver, timeout)

    def trials(self) -> list[FrozenTrial]:
        storage = open_storage(self.url)
        trials = optuna.load_study(study_name=self.name, storage=storage).get_trials(deepcopy=False)
        storage.remove_session()  # no connection is left for a fork to inherit, or on a full disk
        storage.engine.dispose()
        return list(trials)

    def finished(self) -> int:
        """Trials told so far, read past Optuna; 0 before there is a database."""
        if self.storage is None and not (self.home / "study.db").exists():
            return 0
        query = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
        with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError), engine.connect() as connection:
            return int(connection.execute(sqlalchemy.text(query)).scalar() or 0)
        return 0

    def wait_until(
        self, what: Callable[[], bool], driver: subprocess.Popen[str], timeout: float = 240
    ) -> None:
        """Wait until `what`, or the end of the driver."""
        end = time.monotonic() + timeout
        while not what() and driver.poll() is None:
            assert time.monotonic() < end, self.log[-3000:]
            time.sleep(0.05)

    def remember(self) -> None:
        """No COMPLETE trial that was seen before is lost or changed."""
        now = {t.number: facts(t) for t in self.trials() if t.state == TrialState.COMPLETE}
        assert self.known.items() <= now.items()
        self.known = now

    def processes(self) -> Iterator[tuple[int, str]]:
        """Process id and command of everything that the drivers started and that is alive."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if words and int(entry.name) != os.getpid():
                        yield int(entry.name), words

    def workers(self) -> list[int]:
        """The processes that train."""
        return [pid for pid, words in self.processes() if "Trainable" in words.split(" ")[0]]

    def assert_true(self) -> None:
        """What must hold of a study whose search has ended with its budget."""
        self.remember()
        trials = self.trials()
        launched = [t for t in trials if "duplicate_of" not in t.user_attrs]
        counted = [t for t in launched if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        distinct = {t.user_attrs["arch_id"] for t in counted}
        assert len(counted) == len(distinct) == self.budget
        assert not [t for t in trials if t.state == TrialState.RUNNING]
        for trial in trials:
            if trial.state == TrialState.FAIL:
                assert "reason" in trial.user_attrs
            if "retry_of" in trial.user_attrs:
                lost = trials[trial.user_attrs["retry_of"]]
                assert lost.state == TrialState.FAIL
                assert lost.user_attrs["arch_id"] == trial.user_attrs["retry_arch"]
        assert lock_owner(self.url, self.name) is None
        lock_study(self.url, self.name).release()
        front = json.loads((self.home / "front.json").read_text())
        naive = naive_front([t for t in counted if t.state == TrialState.COMPLETE])
        written = {(e["accuracy"], e["macs"]): e["on_front"] for e in front["architectures"]}
        assert naive <= written.keys()
        assert all(share >= LIKELY for point, share in written.items() if point not in naive)

    def end(self) -> None:
        """End every process of the drivers that is still there."""
        for pid, _ in list(self.processes()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def facts(trial: FrozenTrial) -> tuple[Any, ...]:
    """What may never change of a COMPLETE trial."""
    attributes = json.dumps(trial.user_attrs, sort_keys=True)
    return (trial.values, trial.params, attributes, trial.datetime_start, trial.datetime_complete)


def naive_front(trials: list[FrozenTrial]) -> set[tuple[float, int]]:
    points = {(t.user_attrs["accuracy"], t.user_attrs["macs"]) for t in trials}
    return {
        (a, m)
        for a, m in points
        if not any(b >= a and n <= m and (b, n) != (a, m) for b, n in points)
    }


def ended(driver: subprocess.Popen[str], timeout: float = 400) -> Any:
    out, err = driver.communicate(timeout=timeout)
    return subprocess.CompletedProcess(driver.args, driver.returncode, out, err)


def kill(driver: subprocess.Popen[str], number: int = signal.SIGKILL) -> int:
    """Send a signal to the driver alone and wait for it; its exit code."""
    driver.send_signal(number)
    return driver.wait(60)


def heed_sigint() -> None:
    """For a child: a shell lets what it starts in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def one_line(text: str) -> str:
    """The error that a driver ended with; the last line, and the only one with `error`."""
    assert "Traceback" not in text, text
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, text
    return errors[0]


def kill_at_random(search: Search, rng: random.Random, kills: int) -> int:
    """Kill drivers -9, each at a random moment of what is left; return how many died so."""
    died = 0
    for _ in range(kills):
        driver = search.start()
        if rng.random() < 0.15:  # while it starts
            time.sleep(rng.uniform(1, 9))
        else:
            there = search.finished()
            aim = rng.randint(min(there, search.budget), search.budget)  # repeats are finished too
            search.wait_until(lambda aim=aim: search.finished() >= aim, driver)
            time.sleep(rng.uniform(0, 0.3))
        if driver.poll() is None:
            kill(driver)
            died += 1
        driver.communicate()
        if search.finished():
            search.remember()
    return died
