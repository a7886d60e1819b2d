"""`benchmark.py estimates` on a small table: what it counts, and that it continues."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from table_files import write_table

from benchmarks.estimates import judge
from benchmarks.generate import Kind, build
from benchmarks.tables import Table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table() -> Table:
    """400 architectures with one accuracy each."""
    return build(Kind(categorical=2, operations=4, ordinal=2, widths=5), 0, "small")


def test_the_command_writes_its_rows_and_continues(table: Table, tmp_path: Path) -> None:
    write_table(table, tmp_path / "small.csv")
    command = [sys.executable, "runners/benchmark.py", "estimates", "--table"]
    command += [str(tmp_path / "small.csv"), "--json", str(tmp_path / "rows.json"), "--seeds"]
    first = subprocess.run([*command, "1"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert first.returncode == 0, first.stderr
    data = json.loads((tmp_path / "rows.json").read_text())
    assert [mark["evaluations"] for mark in data["rows"][0]["marks"]] == [50, 100, 200]
    assert [row["searches"] for row in data["summary"]] == [1, 1, 1]
    again = subprocess.run([*command, "1"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0
    assert json.loads((tmp_path / "rows.json").read_text()) == data


def test_without_noise_the_measured_front_is_the_true_one(table: Table) -> None:
    rows = np.arange(0, 400, 8)
    found = judge(table, rows, list(1.0 - table.error[rows]), None)
    assert found["measured_true"] == found["true_front"] > 0
    assert found["measurement_error"] == 0
    assert found["high"] + found["low"] <= found["members"]
    assert found["members"] - found["likely"] == found["true_front"]
