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

from nas.data import SearchData, load_search_data
from nas.space.arch import Arch, StageArch
from nas.training import get_recipe
from nas.training.full import last_epoch
from nas.tune.training_pool import Failed, Training, choose_concurrency, gpu_share, workers

NOWHERE = Path("unused")
RECIPE = get_recipe("full", epochs=12, batch_size=50)


class Quiet:
    """Counts the epochs that it is shown."""

    def __init__(self, training: Training) -> None:
        self.epochs: list[int] = []
        self.ended = 0
        everyone[training.name] = self

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        self.epochs.append(epoch)

    def done(self, failed: str | None = None) -> None:
        self.ended += 1


everyone: dict[str, Quiet] = {}


@pytest.fixture(scope="module")
def data() -> SearchData:
    return load_search_data("digits", NOWHERE)


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
            if ours and (entry / "cmdline").read_bytes().startswith(b"ray::_run_there"):
                found.append(int(entry.name))
    return found


def kill_one(folder: Path) -> None:
    """The first worker that has trained an epoch, with whatever it is doing then."""
    while not any(last_epoch(folder / str(n)) for n in range(3)):
        time.sleep(0.02)
    os.kill(ray_workers()[0], signal.SIGKILL)


def test_at_a_time_as_one_after_the_other(
    tmp_path: Path, data: SearchData, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a worker killed on the way; one that fails does not keep the others from going on."""
    everyone.clear()
    with workers(data, NOWHERE, 1, 1) as run:
        alone = run(trainings(tmp_path / "alone"), Quiet)
    assert [one.epochs for one in everyone.values()] == [list(range(1, 13))] * 3
    hot = RECIPE.model_copy(update={"learning_rate": 100.0, "weight_decay": 1.0})
    diverging = replace(trainings(tmp_path)[0], name="hot", recipe=hot, folder=tmp_path / "hot")
    killer = threading.Thread(target=kill_one, args=(tmp_path / "together",))
    with workers(data, NOWHERE, 2, 1) as run:
        killer.start()
        *together, failed = run([*trainings(tmp_path / "together"), diverging], Quiet)
    killer.join()
    for one, other in zip(alone, together, strict=True):
        assert not isinstance(one, Failed)
        assert not isinstance(other, Failed)
        assert one | {"seconds": 0} == other | {"seconds": 0}
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("the loss is ")
    assert [one.ended for one in everyone.values()] == [1] * 4
    for name in ("network 0", "network 1", "network 2"):
        seen = everyone[name].epochs
        assert seen == sorted(set(seen))
        assert seen[-1] == 12
    assert capfd.readouterr() == ("", "")  # of Ray, that a worker died


def test_a_users_mistake_is_raised(tmp_path: Path, data: SearchData) -> None:
    first, other = trainings(tmp_path)[:2]
    with workers(data, NOWHERE, 1, 1) as run:
        run([first], Quiet)
        with pytest.raises(ValueError, match="holds a network trained with another"):
            run([replace(other, folder=first.folder)], Quiet)


def test_concurrency_is_no_more_than_there_is_to_train() -> None:
    assert choose_concurrency(None, 1) == choose_concurrency(8, 1) == 1
    assert choose_concurrency(3, 5) == 3


@pytest.mark.parametrize("gpus", [0, 1, 2, 3, 4, 8])
@pytest.mark.parametrize("concurrency", [1, 2, 3, 5, 8])
def test_every_training_has_its_share_of_the_gpus(gpus: int, concurrency: int) -> None:
    """In a form that Ray takes: whole ones, or a part of one; and all fit at once."""
    share = gpu_share(gpus, concurrency)
    if gpus == 0:
        assert share == 0
    elif share >= 1:
        assert share == int(share)
        assert share * concurrency <= gpus
    else:
        on_one = int(1 / share + 1e-9)
        assert on_one * gpus >= concurrency
