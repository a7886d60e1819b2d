"""A command line in this process, as `python runners/NAME.py` would run it."""

from __future__ import annotations

import importlib.util
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nas.cli.options import run_app
from nas.study import search_time

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ran:
    """What a command returned and wrote."""

    code: int
    out: str
    err: str


def exit_code(folder: Path, name: str, *arguments: str) -> int:
    """The exit code of a command in `folder`; what it writes goes where this process's goes."""
    path = ROOT / "runners" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"runner_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("NAS_STORAGE", raising=False)
        patch.setattr(search_time, "MEASURED_SECONDS", 0.1)  # in many dry runs
        patch.setattr(sys, "argv", [f"runners/{name}.py", *arguments])
        patch.setattr(sys, "orig_argv", ["python", *sys.argv])
        try:
            with pytest.raises(SystemExit) as exit_:
                run_app(module.app)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return int(exit_.value.code or 0)
