"""A tiny network on a few digits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nas.arch import Arch, StageArch
from nas.data import SearchData, load_search_data

TINY = Arch(8, (StageArch(16, 1, 1, "dct", 2, 4), StageArch(32, 1, 2, "pointwise", 4, None)))


@pytest.fixture(scope="session")
def tiny_arch() -> Arch:
    return TINY


@pytest.fixture(scope="session")
def digits_data() -> SearchData:
    return load_search_data("digits", Path("unused"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
