"""Studies in folders of any name, and what only looks at a study leaves it as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import nas
from nas.data import load_search_data
from nas.study.storage.engine import sqlite_url
from nas.training import get_recipe

SEARCH = (
    *("search", "--budget", "3", "--space", "tiny", "--dataset", "digits", "--study", "one"),
    *("--epochs", "2", "--dry-run", "--quiet"),
)


def make(folder: Path) -> None:
    """A study as a search of the command line makes it."""
    data = load_search_data("digits", Path("unused"))
    space = nas.SearchSpace.from_yaml("search_spaces/tiny.yaml")
    nas.run_search(
        space, data.info, 3, train=lambda arch, seed: [(2, 0.5)], quiet=True, name="one",
        recipe=get_recipe("short-cpu", epochs=2), storage=sqlite_url(folder / "study.db"),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["My%20Drive", "a b? #1", "ünï 数据", "{x}+%41"])
def test_a_study_is_found_where_it_was_written(
    run_runner: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    results = tmp_path / name
    make(results / "one")
    assert {path.name for path in tmp_path.iterdir()} == {name, "search_spaces"}
    ran = run_runner(*SEARCH, "--results", str(results), "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["trials stored"] == 3
    ran = run_runner("status", str(results), "--json")
    assert ran.code == 0, ran.err
    assert [study["counted"] for study in json.loads(ran.out)] == [3]
    ran = run_runner("report", str(results / "one"))
    assert ran.code == 0, ran.err
    assert (results / "one" / "report.html").stat().st_size > 10_000
    assert {path.name for path in tmp_path.iterdir()} == {name, "search_spaces"}


def test_a_dry_run_and_the_status_leave_a_database_as_it_is(
    run_runner: Callable[..., Any], tmp_path: Path
) -> None:
    make(tmp_path / "made")
    file = tmp_path / "results/one/study.db"
    file.parent.mkdir(parents=True)
    optuna.copy_study(  # into a database without write-ahead logging
        from_study_name="one", from_storage=sqlite_url(tmp_path / "made/study.db"),
        to_storage=sqlite_url(file),
    )  # fmt: skip
    before = file.read_bytes()
    there = sorted((tmp_path / "results").rglob("*"))
    for arguments in (SEARCH, ("status",), (*SEARCH, "--study", "two")):
        ran = run_runner(*arguments)
        assert ran.code == 0, ran.err
        assert file.read_bytes() == before
        assert sorted((tmp_path / "results").rglob("*")) == there
