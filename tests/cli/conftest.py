"""Run a command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import ROOT, Ran, exit_code


@pytest.fixture
def run_runner(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ran]:
    """`run_runner("search", "--budget", "3")` in an empty folder that has the spaces."""
    monkeypatch.chdir(tmp_path)
    if not (tmp_path / "search_spaces").exists():
        (tmp_path / "search_spaces").symlink_to(ROOT / "search_spaces")

    def run(name: str, *arguments: str) -> Ran:
        code = exit_code(tmp_path, name, *arguments)
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
