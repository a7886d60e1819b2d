"""Run a command line in this process, as `python runners/NAME.py` would."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def run_runner(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ran]:
    """`run_runner("search", "--budget", "3")` in an empty folder that has the spaces."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    if not (tmp_path / "search_spaces").exists():
        (tmp_path / "search_spaces").symlink_to(ROOT / "search_spaces")

    def run(name: str, *arguments: str) -> Ran:
        from nas.cli.options import run_app

        path = ROOT / "runners" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"runner_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"runners/{name}.py", *arguments])
        monkeypatch.setattr(sys, "orig_argv", ["python", *sys.argv])
        handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as exit_:
                run_app(module.app)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        captured = capfd.readouterr()
        return Ran(int(exit_.value.code or 0), captured.out, captured.err)

    return run
