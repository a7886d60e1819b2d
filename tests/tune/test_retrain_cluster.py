"""Retraining on a Ray cluster whose nodes share no folder with the caller; one of them is lost."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from digits_front import write_digits_front
from ray.cluster_utils import Cluster

from nas.space.limits import extreme
from nas.space.space import SearchSpace
from nas.training import get_recipe

ROOT = Path(__file__).parents[2]
EPOCHS = 20


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes of one CPU, with another working folder and temporary folder than the driver."""
    (tmp_path / "node").mkdir()
    for name, value in {
        "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path / "node"), "RAY_TMPDIR": "/tmp",
        "RAY_health_check_period_ms": "500",  # or it takes 15 s to see that a node is lost
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "node")
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


def start(folder: Path, runner: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "runners" / runner), *arguments, "--quiet"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "TMPDIR"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors == ""
    return out


def test_a_node_is_lost_and_the_networks_come_back(cluster: Cluster, tmp_path: Path) -> None:
    cheapest = extreme(SearchSpace.from_yaml("tiny"), 8, 1, 10, lambda cost: cost.macs)
    short = get_recipe("short-cpu", epochs=1)
    write_digits_front(tmp_path / "results/t", [cheapest], [0.1], short)
    lost = cluster.add_node(num_cpus=1)
    arguments = ("results/t/front.json", "--seeds", "2", "--epochs", str(EPOCHS), "--json",
                 "--threads", "1")  # fmt: skip
    process = start(tmp_path, "retrain.py", *arguments, "--ray-address", cluster.address)
    retrained = tmp_path / "results/t/retrained"
    while len(histories := list(retrained.rglob("history.csv"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert list((tmp_path / "node").glob("nas-retrain-*/checkpoint.pt"))
    cluster.remove_node(lost, allow_graceful=False)
    there = json.loads(ended(process))["metrics"]
    assert len(there) == 2
    for path in histories:
        epochs = [int(row["epoch"]) for row in csv.DictReader(path.open())]
        assert epochs == list(range(1, EPOCHS + 1))
        names = {file.name for file in path.parent.iterdir() if file.is_file()}
        assert names - {".lock"} == {"arch.json", "history.csv", "metrics.json",
                                     "model.safetensors"}  # fmt: skip
    retrained.rename(tmp_path / "there")
    here = json.loads(ended(start(tmp_path, "retrain.py", *arguments, "--concurrency", "1")))
    for one, other in zip(there, here["metrics"], strict=True):
        measured = {"seconds": 0, "latency": 0}
        assert one | measured == other | measured
    again = start(tmp_path, "retrain.py", *arguments, "--ray-address", cluster.address)
    assert json.loads(ended(again))["metrics"] == here["metrics"]  # nothing is trained twice
