from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What `make` would run in a folder of its own."""
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "setup.py"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=folder, capture_output=True, text=True
    )


def installs(folder: Path, target: str) -> list[str]:
    """What `make TARGET` would install with pip, as words of the shell."""
    lines = make(folder, "-n", target).stdout.splitlines()
    return [line.split("pip install ")[1] for line in lines if "pip install" in line]


def test_each_target_installs_what_it_needs_once(tmp_path: Path) -> None:
    assert installs(tmp_path, "search") == ["--editable ."]
    assert installs(tmp_path, "test") == ["--editable .", "--quiet --editable '.[test]'"]
    installed(tmp_path)
    assert installs(tmp_path, "search") == []
    assert installs(tmp_path, "bench") == ["--quiet --editable '.[benchmarks]'"]
    (tmp_path / ".venv/.test").touch()
    assert installs(tmp_path, "test") == []
    assert installs(tmp_path, "check") == ["--quiet --editable '.[docs]'"]


def installed(folder: Path) -> None:
    (folder / ".venv").mkdir(exist_ok=True)
    (folder / ".venv/.run").touch()


def study(folder: Path, name: str, age: float, *, running: bool = False) -> Path:
    """A study's database that was written to at second `age`."""
    file = folder / "results" / name / "study.db"
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (0, 0) if running else (age, age))
    if running:
        file.with_name("study.db-wal").touch()
        os.utime(file.with_name("study.db-wal"), (age, age))
    return file


@pytest.mark.parametrize("running", [False, True])
def test_dashboard_opens_the_newest_study(tmp_path: Path, running: bool) -> None:
    study(tmp_path, "old", 1000)
    newest = study(tmp_path, "new", 3000, running=running)
    study(tmp_path, "middle", 2000, running=True)
    assert f"sqlite:///{newest}\n" in make(tmp_path, "-n", "dashboard").stdout


def test_dashboard_opens_the_study_that_is_named(tmp_path: Path) -> None:
    old = study(tmp_path, "old", 1000)
    study(tmp_path, "new", 3000)
    for named in ("results/old", "results/old/study.db", str(old.parent)):
        told = make(tmp_path, "-n", "dashboard", f"STUDY={named}", "PORT=8090").stdout
        assert f"--host 127.0.0.1 --port 8090 sqlite:///{old}\n" in told


def test_dashboard_without_a_study_says_what_to_do(tmp_path: Path) -> None:
    installed(tmp_path)
    told = make(tmp_path, "dashboard")
    assert told.returncode == 2
    assert "make search" in told.stderr
