"""NVIDIA MPS is started only where it works, and is always ended. No GPU is needed here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas.tune import mps as module
from nas.tune.mps import CONTROL, PIPES, has_mps, mps

# In the place of NVIDIA's program: writes down what it is asked for.
PROGRAM = """#!/bin/sh
echo "$@$(cat)" >> "$NAS_TEST_LOG"
exit ${NAS_TEST_CODE:-0}
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program is on the path; a file that gets what it was asked for."""
    program = tmp_path / "bin" / CONTROL
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("NAS_TEST_LOG", str(tmp_path / "asked"))
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.setattr(module, "DEFAULT_PIPES", tmp_path / "nobody")
    return tmp_path / "asked"


def test_a_daemon_that_gives_no_gpu_is_ended_and_done_without(asked: Path) -> None:
    assert has_mps()
    with mps() as runs:
        assert not runs
        assert PIPES not in os.environ
    assert asked.read_text().split() == ["-d", "quit"]


def test_it_runs_for_as_long_as_the_context(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE", "")
    with mps() as runs:
        assert runs
        assert Path(os.environ[PIPES]).is_dir()
        assert asked.read_text().split() == ["-d"]
    assert PIPES not in os.environ
    assert asked.read_text().split() == ["-d", "quit"]


def test_a_program_that_fails_is_done_without(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_TEST_CODE", "1")
    with mps() as runs:
        assert not runs
    assert asked.read_text().split() == ["-d"]


def test_a_daemon_of_somebody_else_is_used_and_left(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PIPES, "/elsewhere")
    with mps() as runs:
        assert runs
        assert os.environ[PIPES] == "/elsewhere"
    assert not asked.exists()
