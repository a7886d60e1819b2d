"""What several test files share: a small space and a study over it."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from synthetic_study import synthetic_study

from nas.data import DatasetInfo
from nas.space.arch import Arch, StageArch
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.objectives import Objectives
from nas.training import get_recipe

ROOT = Path(__file__).parent.parent
# Whole searches and retrainings in processes of their own, a minute a file.
LONG = ("tune", "cli", "docs", "test_package.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker ends with one while the other has nothing to do."""
    tests = ROOT / "tests"
    items.sort(
        key=lambda item: (
            not (item.path.is_relative_to(tests) and item.path.relative_to(tests).parts[0] in LONG)
        )
    )


@pytest.fixture(scope="session")
def tiny_arch() -> Arch:
    return Arch(8, (StageArch(16, 1, 1, "dct", 2, 4), StageArch(32, 1, 2, "pointwise", 4, None)))


@pytest.fixture(scope="session")
def tiny_space() -> SearchSpace:
    return SearchSpace.from_yaml(ROOT / "search_spaces/tiny.yaml")


@pytest.fixture(scope="session")
def digits_info() -> DatasetInfo:
    return DatasetInfo(
        name="digits",
        image_size=8,
        in_channels=1,
        class_names=tuple("0123456789"),
        crop=1,
        flip=False,
        mean=(0.3,),
        std=(0.38,),
        fingerprint="0" * 16,
    )


@pytest.fixture(scope="session")
def tiny_config(tiny_space: SearchSpace, digits_info: DatasetInfo) -> StudyConfig:
    return StudyConfig(
        tiny_space,
        digits_info,
        get_recipe("short-cpu", epochs=2),
        Objectives(("accuracy", "macs")),
        Limits(),
    )


@pytest.fixture
def clock_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[float], datetime.datetime]]:
    """Local times in the night in which summer time ends: 03:00 is followed by 02:00.

    It gives the local time so many minutes later, without a zone, as `datetime.now` does.
    """
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    change = datetime.datetime(2026, 10, 25, 1, tzinfo=datetime.UTC).timestamp()
    yield lambda minutes: datetime.datetime.fromtimestamp(change + 60 * minutes)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(name="synthetic_study")
def synthetic_study_fixture() -> Callable[..., optuna.Study]:
    return synthetic_study
