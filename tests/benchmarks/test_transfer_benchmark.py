import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from table_files import write_table

from benchmarks.generate import Kind, build
from benchmarks.transfer import COLD, NEGATED, WAYS, _negated, _permuted, check_pair

ROOT = Path(__file__).parents[2]
SMALL = Kind(categorical=2, operations=4, ordinal=1, widths=5)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "runners/benchmark.py", "transfer", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_command_writes_every_way_of_searching_and_continues(tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    write_table(build(SMALL, 0, "first"), first)
    write_table(build(SMALL, 0, "second"), second, 0.9)
    arguments = (
        "--source", first, "--target", second, "--trials", 15, "--evals", 12, "--seeds", 2,
        "--jobs", 1, "--json", tmp_path / "rows.json",
    )  # fmt: skip
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "rows.json").read_text())
    assert {(row["way"], row["seed"]) for row in data["rows"]} == {
        (way, seed) for way in WAYS for seed in range(2)
    }
    for row in data["rows"]:
        assert len(row["hypervolume"]) == (24 if row["way"] == COLD else 12)
        assert (np.diff(row["hypervolume"]) >= 0).all()
    (pair,) = data["summary"]
    assert (pair["source"], pair["target"]) == ("first", "second")
    assert [row["way"] for row in pair["ways"]] == list(WAYS)
    again = run(*arguments)
    assert again.returncode == 0
    assert json.loads((tmp_path / "rows.json").read_text()) == data


def test_misleading_tables_keep_what_they_say_they_keep():
    table = build(SMALL, 1, "small")
    permuted, negated = _permuted(table, 0), _negated(table)
    for macs in np.unique(table.macs):
        rows = table.macs == macs
        assert sorted(permuted[rows]) == sorted(table.error[rows])
    assert sorted(negated) == sorted(table.error)
    assert negated[table.error.argmin()] == table.error.max()
    assert NEGATED in WAYS


def test_tables_without_a_common_architecture_are_refused(tmp_path):
    write_table(build(SMALL, 0, "a"), tmp_path / "a.csv")
    frame = pd.read_csv(tmp_path / "a.csv").drop(columns="x1").rename(columns={"x2": "x1"})
    frame = frame.rename(columns={"x3": "x2"}).drop_duplicates(["x1", "x2"])
    frame.to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ValueError, match="accepted: those of the target"):
        check_pair(str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    done = run("--source", tmp_path / "none.csv", "--target", tmp_path / "a.csv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    with pytest.raises(ValueError, match="accepted: a table"):
        check_pair("synthetic:0", str(tmp_path / "a.csv"))
