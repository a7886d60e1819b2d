"""kill -9 of drivers and workers: the study stays true."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from drivers import Search, ended, kill_at_random

from nas.study.storage.lock import lock_owner


def driver_is_killed(search: Search, seed: str, kills: int) -> dict[str, Any]:
    rng = random.Random(seed)
    died = kill_at_random(search, rng, kills)
    done = search.run()
    assert done.returncode == 0, done.stderr
    search.assert_true()
    reasons = [t.user_attrs["reason"] for t in search.trials() if "reason" in t.user_attrs]
    return {"kills": died, "interrupted": reasons.count("interrupted")}


def test_a_killed_driver_is_continued(make_search: Callable[..., Search]) -> None:
    search = make_search(budget=8)
    assert driver_is_killed(search, "quick", 1)["kills"] <= 1


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(25))
def test_drivers_killed_on_sqlite(
    make_search: Callable[..., Search], record: Callable[..., None], seed: int
) -> None:
    sampler = "known-cost" if seed % 5 == 0 else "random"
    search = make_search(options=("--sampler", sampler))
    record(**driver_is_killed(search, f"sqlite {seed}", 1 + seed % 3))


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10))
def test_drivers_killed_on_postgresql(
    make_search: Callable[..., Search], record: Callable[..., None], server: Any, seed: int
) -> None:
    search = make_search(storage=server.new_database(f"killed{seed}"))
    record(**driver_is_killed(search, f"postgresql {seed}", 1 + seed % 3))


@pytest.mark.faults
def test_ray_dies_with_its_driver(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    search = make_search()
    driver = search.start()
    search.wait_until(lambda: search.finished() > 3, driver)
    driver.kill()
    driver.communicate()
    # Ray's agents try for 60 s to tell the dead one what happened.
    end = time.monotonic() + 150
    while list(search.processes()):
        assert time.monotonic() < end, list(search.processes())
        time.sleep(0.5)
    record()


@pytest.mark.faults
def test_workers_killed_all_through(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    search = make_search(epochs=4, images=1000, options=("--max-failures", "40"))
    rng, kills = random.Random("workers"), 0
    driver = search.start()
    while driver.poll() is None:
        there = search.finished()  # a worker takes seconds to start: something ends between kills
        search.wait_until(lambda there=there: search.finished() > there, driver)
        time.sleep(rng.uniform(0, 0.5))
        if workers := search.workers():
            with contextlib.suppress(OSError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                kills += 1
    done = ended(driver)
    assert done.returncode == 0, done.stderr
    assert kills > 5
    search.assert_true()
    reasons = [t.user_attrs["reason"] for t in search.trials() if "reason" in t.user_attrs]
    record(kills=kills, **{reason: reasons.count(reason) for reason in set(reasons)})


def start_two(make_search: Callable[..., Search], storage: str | None) -> None:
    """Exactly one of two drivers runs; the other one names it and ends."""
    one = ("--sampler", "random", "--concurrency", "1")
    search = make_search(storage=storage, budget=2, options=one)
    drivers = [search.start(), search.start()]
    end = time.monotonic() + 120
    while all(driver.poll() is None for driver in drivers):
        assert time.monotonic() < end
        time.sleep(0.1)
    loser = next(driver for driver in drivers if driver.poll() is not None)
    winner = drivers[1 - drivers.index(loser)]
    owner = lock_owner(search.url, search.name)
    told = ended(loser)
    assert told.returncode == 1, told.stderr
    assert f"is in use by process {winner.pid} on" in told.stderr
    assert owner is None or owner.pid == winner.pid
    done = ended(winner)
    assert done.returncode == 0, done.stderr
    search.assert_true()


def test_of_two_drivers_one_runs(make_search: Callable[..., Search]) -> None:
    start_two(make_search, None)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(20))
def test_of_two_drivers_one_runs_each_time(
    make_search: Callable[..., Search], record: Callable[..., None], server: Any, seed: int
) -> None:
    start_two(make_search, server.new_database(f"two{seed}") if seed % 2 else None)
    record(database="postgresql" if seed % 2 else "sqlite")
