"""Trials that fail, hang or run out of memory; disks that fill up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from drivers import Search, ended, one_line
from optuna.trial import TrialState

from nas.data import DatasetInfo, SearchData
from nas.data.splits import Split
from nas.deploy.latency import machine_identity
from nas.space.arch import table2_arch
from nas.training import get_recipe
from nas.tune.trainable import ActorSpent, TrainingTrial


def reasons(search: Search) -> list[str]:
    trials = search.trials()
    return [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]


def trial(
    data: SearchData,
    machine: str | None = None,
    max_latency: float | None = None,
    epochs: int = 1,
) -> TrainingTrial:
    made = TrainingTrial.__new__(TrainingTrial)  # Ray's part of the constructor needs a cluster
    config = {"arch": table2_arch(0.5).to_json(), "seed": 1}
    made.setup(
        *(config, data, get_recipe("short-cpu", epochs=epochs), tuple(range(1, epochs + 1))),
        *(1, machine, "pytorch", max_latency),
    )
    return made


def broken(info: DatasetInfo) -> SearchData:
    """Labels of classes that there are not."""
    split = Split(torch.zeros(128, 1, 8, 8, dtype=torch.uint8), torch.full((128,), 99))
    return SearchData(replace(info, crop=0), split, split)


def test_an_exception_in_the_data_is_the_trials_reason(digits_info: DatasetInfo) -> None:
    made = trial(broken(digits_info))
    result = made.step()
    assert result["done"]
    assert result["reason"].startswith("IndexError: Target 99 is out of bounds")
    assert made.reset_config({}) is True  # the actor lives on


def test_out_of_memory_is_recognised_and_the_actor_replaced(digits_info: DatasetInfo) -> None:
    made = trial(broken(digits_info))
    made._build = lambda: torch.empty(2**46)  # type: ignore[assignment, return-value]
    assert made.step()["reason"] == "out_of_memory"
    with pytest.raises(ActorSpent):
        made.reset_config({})


def test_a_worker_on_another_machine_measures_no_latency(digits_info: DatasetInfo) -> None:
    images = torch.randint(256, (128, 1, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.arange(128) % 10)
    data = SearchData(replace(digits_info, crop=0), split, split)
    here = trial(data, machine_identity(torch.device("cpu"), 1)).step()
    assert min(here["latency_ratio"], here["latency_control"]) > 0
    assert here["latency_noise"] > 0
    there = trial(data, "another processor, 1 thread").step()
    assert there["reason"].startswith("OtherMachine: latency is measured on another processor")
    assert "latency_ratio" not in there


def test_a_network_over_the_limit_of_latency_is_not_trained(digits_info: DatasetInfo) -> None:
    images = torch.randint(256, (128, 1, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.arange(128) % 10)
    data = SearchData(replace(digits_info, crop=0), split, split)
    machine = machine_identity(torch.device("cpu"), 1)
    over = trial(data, machine, max_latency=1e-7).step()
    assert (over["reason"], over["done"], "epochs" in over) == ("over_latency", True, False)
    assert over["latency"] > 1e-7
    within = trial(data, machine, max_latency=10.0).step()
    assert (within["reason"], within["epochs"]) == (None, 1)
    assert within["latency"] == within["latency_ratio"] * within["latency_control"]
    early = trial(data, machine, max_latency=10.0, epochs=2).step()
    assert not early["done"]
    assert early["latency_ratio"] > 0  # the trial may be stopped here
    assert "latency_ratio" not in trial(data, machine, epochs=2).step()


def test_a_file_on_a_full_disk_is_whole_or_as_it_was(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    path = tmp_path / "front.json"
    path.write_text("old")
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom nas.files import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"write_atomic(Path({str(path)!r}), 'x' * 10_000)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in ran.stderr
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["front.json"]


@pytest.mark.faults
def test_a_hanging_worker_is_replaced(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    options = ("--trial-timeout", "60s", "--sampler", "random")
    search = make_search(budget=12, epochs=4, images=1000, options=options)
    driver, stopped = search.start(), 0
    for aim in (2, 5):
        search.wait_until(lambda aim=aim: search.finished() >= aim and search.workers(), driver)
        for worker in search.workers()[:1]:
            os.kill(worker, signal.SIGSTOP)
            stopped += 1
    done = ended(driver)
    assert done.returncode == 0, done.stderr
    search.assert_true()
    assert "interrupted: timeout" in search.log
    record(stopped=stopped, interrupted=reasons(search).count("interrupted"))


@pytest.mark.faults
def test_trials_that_always_hang_fail_with_their_reason(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    options = ("--trial-timeout", "3s", "--max-failures", "10%", "--concurrency", "1")
    search = make_search(budget=12, epochs=3000, images=1000, options=options)
    done = search.run()
    assert done.returncode == 1
    assert "more than --max-failures 1; most often (2 times): timeout" in done.stdout
    assert reasons(search).count("timeout") == 2
    record(interrupted=reasons(search).count("interrupted"))


@pytest.mark.faults
def test_trials_without_memory_fail_at_once(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    search = make_search(options=("--max-failures", "2", "--sampler", "random"))
    search.environment = {
        "RAY_memory_usage_threshold": "0.001",  # Ray's monitor takes the machine for full
        "RAY_memory_monitor_refresh_ms": "100",
    }
    done = search.run()
    assert done.returncode == 1
    assert "most often (3 times): out_of_memory" in done.stdout
    failed = [t for t in search.trials() if t.user_attrs.get("reason") == "out_of_memory"]
    assert len({t.user_attrs["arch_id"] for t in failed}) == len(failed) == 3
    record()


@pytest.mark.faults
def test_diverging_trials_end_the_search(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    options = ("--learning-rate", "100", "--max-failures", "0.05", "--sampler", "random")
    search = make_search(epochs=8, images=1000, options=options)
    done = search.run()
    found = reasons(search)
    assert done.returncode == 1, done.stdout
    assert "more than --max-failures 2; most often" in done.stdout
    assert found.count("diverged") >= 3
    record(diverged=found.count("diverged"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Mounts a file system of a few megabytes on the folder `results`, or changes its options."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "results"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")

    def change(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    yield change
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.faults
def test_a_disk_that_is_full_at_the_end(
    make_search: Callable[..., Search], record: Callable[..., None], small_disk: Any
) -> None:
    """The report does not fit on it; the study and the front do."""
    search = make_search(budget=6)
    done = search.run()
    assert done.returncode == 1
    assert "No space left on device" in one_line(done.stderr)
    assert not list(search.home.glob(".*.*"))  # nothing half-written
    search.assert_true()
    small_disk("size=30m")
    done = search.run()
    assert done.returncode == 0, done.stderr
    assert (search.home / "report.html").stat().st_size > 10_000
    small_disk("ro")
    done = search.run()
    assert done.returncode in (1, 2)
    assert "cannot be written" in one_line(done.stderr)
    record()


@pytest.mark.faults
def test_a_disk_that_is_full_in_the_middle(
    make_search: Callable[..., Search], record: Callable[..., None], small_disk: Any
) -> None:
    search = make_search(budget=12)
    driver = search.start()
    search.wait_until(lambda: search.finished() >= 3, driver)
    with contextlib.suppress(OSError), (search.folder / "results/ballast").open("wb") as ballast:
        while True:
            ballast.write(b"x" * 4096)
            ballast.flush()
    done = ended(driver)
    assert done.returncode == 1
    message = one_line(done.stderr)
    assert "full" in message or "No space left" in message or "disk I/O" in message
    (search.folder / "results/ballast").unlink()
    small_disk("size=30m")
    search.remember()
    done = search.run()
    assert done.returncode == 0, done.stderr
    search.assert_true()
    record(message=message)
