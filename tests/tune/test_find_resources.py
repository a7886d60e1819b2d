"""The cluster decides: resources, recipe and data set of a search, on a Ray with fake GPUs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from nas.tune.resources import free_gpu_memory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without a CPU; what joins later finds no C++ compiler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("CXX", "nope")
        patch.setenv("PYTHONPATH", str(ROOT))
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Two classes of noise, as a folder; its default recipe depends on the device."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    return f"folder:{tmp_path / 'images'}"


def start(cluster: Cluster, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "runners/search.py"), "--budget", "2",
               "--ray-address", cluster.address, "--space",
               str(ROOT / "search_spaces/tiny.yaml"), *arguments]  # fmt: skip
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NAS_CACHE_DIR": str(folder / "cache")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def first_line(process: subprocess.Popen[Any]) -> str:
    """The first line after the one that says what the command has begun."""
    assert process.stderr is not None
    assert str(process.stderr.readline()).startswith("nas: ")
    return str(process.stderr.readline())


def test_a_cluster_without_workers(cluster: Cluster, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, "--dataset", "digits", "--wait-for-workers", "1s")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    last = errors.splitlines()[-1]
    assert last.startswith(f"error: --ray-address {cluster.address}: Ray has no worker; accepted")
    assert not (tmp_path / "results").exists()


def test_waiting_ends_at_ctrl_c(cluster: Cluster, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, "--dataset", "digits")
    assert first_line(process).startswith("waiting for workers: Ray at ")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 30
    assert not (tmp_path / "results").exists()


def test_a_search_waits_for_gpus_and_takes_what_suits_them(
    cluster: Cluster, tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))  # of the workers
    plan = start(cluster, tmp_path, "--dataset", images, "--dry-run", "--json")
    assert "has no worker; missing: room for 1 more of 1 trial with" in first_line(plan)
    cluster.add_node(num_cpus=2, num_gpus=1)
    out, errors = plan.communicate(timeout=120)
    assert plan.returncode == 0, errors
    planned = json.loads(out)
    assert planned["recipe"].startswith("name short-gpu, ")
    assert planned["concurrency"] == 2
    assert planned["trial"].endswith(" GPUs, 1 CPU")
    assert planned["Ray"] == f"{cluster.address}: 2 CPUs and 1 GPU"
    search = start(
        cluster, tmp_path, "--dataset", images, "--epochs", "1", "--study", "t", "--quiet"
    )
    _, errors = search.communicate(timeout=240)
    assert search.returncode == 0, errors
    # The GPU is a fake, so PyTorch cannot use it: a warning says so, once, and the log has it.
    warnings = [line for line in errors.splitlines() if line.startswith("warning: node ")]
    assert len(warnings) == 1, errors
    assert "its GPU cannot be used by PyTorch" in warnings[0]
    assert "its GPU cannot be used" in (tmp_path / "results/t/search.log").read_text()


def test_a_search_says_that_there_is_no_compiler(cluster: Cluster, tmp_path: Path) -> None:
    search = start(cluster, tmp_path, "--dataset", "digits", "--epochs", "1", "--study", "t",
                   "--gpus-per-trial", "0", "--concurrency", "1", "--quiet")  # fmt: skip
    _, errors = search.communicate(timeout=240)
    assert search.returncode == 0, errors
    (warning,) = (line for line in errors.splitlines() if line.startswith("warning: "))
    assert "slower: no C++ compiler found (set CXX, or install g++ or clang++)" in warning
    assert "no C++ compiler found" in (tmp_path / "results/t/search.log").read_text()


@pytest.mark.parametrize(
    ("prints", "memory"),
    [("81000\n24000\n", 24000 * 2**20), ("[N/A]\n", None), ("", None)],
)
def test_the_fullest_gpu_says_how_much_memory_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str, memory: float | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{prints}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert free_gpu_memory() == memory


def test_without_nvidias_program_the_memory_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert free_gpu_memory() is None
