"""The tests that need a GPU, as a part of the GPU benchmark."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu_setting import Setting, main, row


def run(setting: Setting) -> None:
    """Run them and give their counts; at toy size they are only collected."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", "gpu"]
    command += ["--collect-only"] if setting.toy else []
    done = subprocess.run(
        [*command, "tests/training", "tests/models", "tests/data"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr[-200:]]
    failed = [line for line in lines if re.match(r"(FAILED|ERROR|E  )", line)]
    row(code=done.returncode, last=lines[-1], failures=failed[:40])
    if done.returncode != 0:
        raise SystemExit("tests failed")


if __name__ == "__main__":
    main(run)
