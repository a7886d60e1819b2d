"""Commands of this project as processes of their own, as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_command(name: str, *options: object) -> None:
    """Run `runners/NAME.py` with options, from the root of the project, to its end.

    Raises:
        RuntimeError: it failed; the message ends with its last line.
    """
    done = subprocess.run(
        [sys.executable, str(ROOT / "runners" / f"{name}.py"), *map(str, options)],
        cwd=ROOT,
        env=os.environ | {"RAY_worker_niceness": "0"},  # by default lower than all else
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"{name} ended with code {done.returncode}: {last[:300]}")
