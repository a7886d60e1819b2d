"""Several trainings at a time under Ray end as they do one after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.data import SearchData, Split, load_search_data, load_test_data
from nas.space.arch import Arch, StageArch
from nas.study.resources import ClusterResources, Node
from nas.training import get_recipe
from nas.training.folder import HISTORY
from nas.tune.training import Failed, Training
from nas.tune.training_pool import Pool, choose_pool
from nas.tune.training_runner import training_runner

NOWHERE = Path("unused")
HERE = Pool(None, 1, 1.0, 0.0, 1)
RECIPE = get_recipe("full", epochs=8, batch_size=50)
MEASURED = {"seconds": 0, "latency": 0}  # differ between two trainings


class Quiet:
    """Counts the epochs that it is shown."""

    def __init__(self, training: Training) -> None:
        self.epochs: list[int] = []
        self.ended = 0
        everyone[training.name] = self

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        self.epochs.append(epoch)

    def fine_tuned(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        raise AssertionError("nothing is to be fine-tuned")

    def done(self, failed: str | None = None) -> None:
        self.ended += 1


everyone: dict[str, Quiet] = {}


@pytest.fixture(scope="module")
def data() -> SearchData:
    return load_search_data("digits", NOWHERE)


def load_test() -> Split:
    return load_test_data("digits", NOWHERE)


def trainings(folder: Path, **labels: Any) -> list[Training]:
    archs = [Arch(8, (StageArch(16, n, 2, "dct", 2, 4),)) for n in (1, 2, 3)]
    return [
        Training(f"network {n}", arch, RECIPE, n, folder / str(n), 1000 * n, labels)
        for n, arch in enumerate(archs)
    ]


def ray_workers() -> list[int]:
    """Process ids of tasks of this process's Ray that are running."""
    found, token = [], os.environ["RAY_AUTH_TOKEN"].encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            ours = token in (entry / "environ").read_bytes()
            if ours and (entry / "cmdline").read_bytes().startswith(b"ray::_run_on_worker"):
                found.append(int(entry.name))
    return found


def kill_one(folder: Path) -> None:
    """The first worker that has trained an epoch, with whatever it is doing then."""
    while not any((folder / str(n) / HISTORY).exists() for n in range(3)):
        time.sleep(0.02)
    os.kill(ray_workers()[0], signal.SIGKILL)


def test_at_a_time_as_one_after_the_other(
    tmp_path: Path, data: SearchData, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a worker killed on the way; one that fails does not keep the others from going on."""
    everyone.clear()
    with training_runner(data, load_test, HERE) as run:
        alone = run(trainings(tmp_path / "alone"), Quiet)
    assert [one.epochs for one in everyone.values()] == [list(range(1, 9))] * 3
    hot = RECIPE.model_copy(update={"learning_rate": 100.0, "weight_decay": 1.0})
    diverging = replace(trainings(tmp_path)[0], name="hot", recipe=hot, folder=tmp_path / "hot")
    killer = threading.Thread(target=kill_one, args=(tmp_path / "together",), daemon=True)
    with training_runner(data, load_test, Pool(None, 2, 1.0, 0.0, 1)) as run:
        killer.start()
        *together, failed = run([*trainings(tmp_path / "together"), diverging], Quiet)
    killer.join()
    for one, other in zip(alone, together, strict=True):
        assert not isinstance(one, Failed)
        assert not isinstance(other, Failed)
        assert one | MEASURED == other | MEASURED
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("the loss is ")
    assert failed.diverged
    assert [one.ended for one in everyone.values()] == [1] * 4
    for name in ("network 0", "network 1", "network 2"):
        seen = everyone[name].epochs
        assert seen == sorted(set(seen))
        assert seen[-1] == 8
    assert capfd.readouterr() == ("", "")  # of Ray, that a worker died


def test_of_several_at_a_time_the_longest_starts_first(tmp_path: Path, data: SearchData) -> None:
    """But each network is trained once before a second seed."""
    everyone.clear()
    brief = RECIPE.model_copy(update={"epochs": 1})
    again = [
        replace(one, name=f"{one.name}, {seed}", seed=seed, recipe=brief,
                folder=tmp_path / str(seed) / str(number))
        for seed in (0, 1)
        for number, one in enumerate(trainings(tmp_path))
    ]  # fmt: skip
    with training_runner(data, load_test, Pool(None, 2, 1.0, 0.0, 1)) as run:
        outcomes = run(again, Quiet)
    assert list(everyone) == [f"network {n}, {seed}" for seed in (0, 1) for n in (2, 1, 0)]
    for one, outcome in zip(again, outcomes, strict=True):  # in the order that was asked
        assert not isinstance(outcome, Failed)
        assert outcome["seed"] == one.seed


def test_a_users_mistake_is_raised(tmp_path: Path, data: SearchData) -> None:
    first, other = trainings(tmp_path)[:2]
    with training_runner(data, load_test, HERE) as run:
        run([first], Quiet)
        with pytest.raises(ValueError, match="holds a network trained with another"):
            run([replace(other, folder=first.folder)], Quiet)


def test_a_network_whose_export_fails_is_trained_all_the_same(
    tmp_path: Path, data: SearchData
) -> None:
    first = replace(trainings(tmp_path)[0], export=("torch",))
    (first.folder / "model.pt2").mkdir(parents=True)  # in the place of the file
    with training_runner(data, load_test, HERE) as run:
        (outcome,) = run([first], Quiet)
    assert not isinstance(outcome, Failed)
    assert outcome["test_accuracy"] > 0
    assert "export" not in outcome
    assert "model.pt2" in outcome["export_failed"]


def cluster(*nodes: tuple[float, float]) -> ClusterResources:
    return ClusterResources(tuple(Node(*node) for node in nodes), 4)


def test_one_training_on_each_gpu_or_core_and_no_more_than_there_are() -> None:
    assert choose_pool(cluster((4, 0)), 1) == Pool(None, 1, 4, 0, 4)
    assert choose_pool(cluster((4, 0)), 9) == Pool(None, 4, 1, 0, 1)
    assert choose_pool(cluster((4, 0)), 9, concurrency=3) == Pool(None, 3, 4 / 3, 0, 1)
    assert choose_pool(cluster((8, 2), (8, 2)), 9) == Pool(None, 4, 4, 1, 4)
    assert choose_pool(cluster((8, 2), (8, 2)), 9, gpus=0.5) == Pool(None, 8, 2, 0.5, 2)
    assert choose_pool(cluster((8, 2)), 9, gpus=0) == Pool(None, 8, 1, 0, 1)
    assert choose_pool(cluster((8, 4)), 2) == Pool(None, 2, 4, 2, 4)
    with pytest.raises(
        ValueError, match=r"no room for 3 trainings .*; accepted: at most 2 at a time"
    ):
        choose_pool(cluster((8, 2)), 9, gpus=1, concurrency=3)
