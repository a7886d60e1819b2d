"""A tiny network on a few digits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.data import SearchData, load_search_data
from nas.space.arch import Arch, StageArch
from nas.threads import cpu_threads

TINY = Arch(8, (StageArch(16, 1, 1, "dct", 2, 4), StageArch(32, 1, 2, "pointwise", 4, None)))


@pytest.fixture(scope="session")
def tiny_arch() -> Arch:
    return TINY


@pytest.fixture(scope="session")
def digits_data() -> SearchData:
    return load_search_data("digits", Path("unused"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield
