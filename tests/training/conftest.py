"""A tiny network on a few digits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.data import SearchData, load_search_data
from nas.threads import cpu_threads


@pytest.fixture(scope="session")
def digits_data() -> SearchData:
    return load_search_data("digits", Path("unused"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield
