"""Commands of this project as processes of their own, as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_command(name: str, *options: object, root: Path = ROOT) -> None:
    """Run `runners/NAME.py` with options, from the root of the project, to its end.

    Args:
        name: of the runner.
        options: its arguments.
        root: a checkout of the project, whose code runs.

    Raises:
        RuntimeError: it failed; the message ends with its last line.
    """
    done = subprocess.run(
        [sys.executable, str(root / "runners" / f"{name}.py"), *map(str, options)],
        cwd=root,
        # Workers are nicer than all else by default.
        env=os.environ | {"RAY_worker_niceness": "0", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"{name} ended with code {done.returncode}: {last[:300]}")
