"""kill -9 between any two statements of a driver: its part alone, forked, hundreds of times.

The trials are synthetic and instant, so that nearly every kill hits an ask or a tell.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from drivers import Search
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from nas.study.config import StudyConfig, stored_config
from nas.study.front import front
from nas.study.front_file import front_file, write_front
from nas.study.measurement import Measurement
from nas.study.storage.lock import lock_study, myself
from nas.study.storage.retrying import open_retrying
from nas.study.study import SearchStudy

optuna.logging.set_verbosity(optuna.logging.ERROR)


def drive(search: Search, config: StudyConfig) -> None:
    """What a driver does with a study, two trials in flight."""
    lock = lock_study(search.url, search.name)
    storage = open_retrying(search.url, lock, lambda: False)
    study = optuna.create_study(
        storage=storage,
        study_name=search.name,
        directions=config.objectives.directions,
        sampler=RandomSampler(),
        load_if_exists=True,
    )
    if stored_config(study) is None:
        for key, value in config.to_attributes().items():
            study.set_user_attr(key, value)
    storage.claim(search.name, str(myself()))
    driver = SearchStudy(study, config, budget=search.budget)
    driver.recover()
    while not driver.done:
        while len(driver.running) < 2 and driver.ask() is not None:
            pass
        number, candidate = random.choice(list(driver.running.items()))
        accuracy = int(candidate.arch.arch_id[:4], 16) / 2**16
        driver.complete(number, Measurement(accuracy, 2, 1.0, ((2, accuracy),)))
    members = front(study, config)
    write_front(search.home / "front.json", front_file(search.name, config, members))
    lock.release()


def storm(search: Search, config: StudyConfig, seed: str, patience: int) -> dict[str, int]:
    """Kill drivers a few trials on, `patience` times, and let one end; then check the study."""
    search.home.mkdir(parents=True, exist_ok=True)
    rng, kills = random.Random(seed), 0
    while True:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                random.seed()
                drive(search, config)
                code = 0
            except BaseException:
                (search.folder / "died").write_text(traceback.format_exc())
            finally:
                os._exit(code)
        aim = search.finished() + rng.randint(0, 2) if kills < patience else math.inf
        status = None
        while status is None and search.finished() < aim:
            status = ended(child)
            time.sleep(0.01)
        end = time.monotonic() + rng.uniform(0, 0.1)
        while status is None and time.monotonic() < end:
            status = ended(child)
            time.sleep(0.002)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
        else:
            assert status == 0, (search.folder / "died").read_text()
            break
        if search.finished():
            search.remember()
    search.assert_true()
    reasons = [t.user_attrs["reason"] for t in search.trials() if t.state == TrialState.FAIL]
    return {"kills": kills} | {reason: reasons.count(reason) for reason in set(reasons)}


def ended(child: int) -> int | None:
    """The exit status of a child; None while it runs."""
    pid, status = os.waitpid(child, os.WNOHANG)
    return status if pid else None


def test_killed_often_on_sqlite(tmp_path: Path, tiny_config: StudyConfig) -> None:
    assert storm(Search(tmp_path), tiny_config, "quick", 12)["interrupted"] > 3


def test_killed_often_on_postgresql(tmp_path: Path, tiny_config: StudyConfig, server: Any) -> None:
    search = Search(tmp_path, storage=server.new_database("storm"), budget=20)
    assert storm(search, tiny_config, "quick", 6)["interrupted"] > 1


@pytest.mark.faults
def test_killed_at_the_start(
    tmp_path: Path, tiny_config: StudyConfig, record: Callable[..., None]
) -> None:
    """Of many small studies, while their databases are created."""
    kills = 0
    for number in range(60):
        search = Search(tmp_path / str(number), budget=3)
        kills += storm(search, tiny_config, f"start {number}", 4)["kills"]
    record(studies=60, kills=kills)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(25))
def test_storm_on_sqlite(
    tmp_path: Path, tiny_config: StudyConfig, record: Callable[..., None], seed: int
) -> None:
    record(**storm(Search(tmp_path), tiny_config, f"sqlite {seed}", 40))


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10))
def test_storm_on_postgresql(
    tmp_path: Path, tiny_config: StudyConfig, record: Callable[..., None], server: Any, seed: int
) -> None:
    search = Search(tmp_path, storage=server.new_database(f"storm{seed}"))
    record(**storm(search, tiny_config, f"postgresql {seed}", 40))
