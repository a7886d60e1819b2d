"""The GPU benchmark: one prepared measurement of at most eight minutes.

Each part is a process of its own with a time limit, so that a part which hangs or fails does not
stop the next one; the rows that it printed before are kept. Results are written as they come.
Run as `python runners/benchmark.py gpu --json FILE --data-dir DIR`.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.files import write_json

ROOT = Path(__file__).parents[1]
LIMIT = 475.0  # seconds of all parts together
GRACE = 5.0  # seconds that a part which is cut off has to clean up


@dataclass(frozen=True)
class Part:
    """A part: the module that is its process, and its time limit in seconds."""

    name: str
    module: str
    limit: float


PARTS = tuple(
    Part(name, f"benchmarks.gpu_{name}", limit)
    for name, limit in (
        ("profile", 40), ("tests", 45), ("sharing", 190), ("search", 195),
    )
)  # fmt: skip


def run_and_report(
    data_dir: Path, toy: bool, json_path: Path | None, parts: tuple[Part, ...] = PARTS
) -> bool:
    """Run the parts one after the other and print their rows.

    Args:
        data_dir: a folder with the files of Fashion-MNIST; nothing is downloaded.
        toy: sizes for a rehearsal on the CPU.
        json_path: where the results are written as they come; None: nowhere.
        parts: what is run; by default everything.

    Returns:
        Whether every part ended well.
    """
    start = time.monotonic()
    report: dict[str, Any] = {"machine": machine(toy), "parts": {}}
    console = Console(width=None if Console().is_terminal else 120)
    with tempfile.TemporaryDirectory(prefix="nas-gpu-") as scratch:
        options = ["--data-dir", str(data_dir.resolve()), "--scratch", scratch]
        for part in parts:
            figures: dict[str, Any] = {"rows": []}
            report["parts"][part.name] = figures
            limit = min(part.limit, LIMIT - (time.monotonic() - start))
            _run(part, options + ["--toy"] * toy, limit, figures, report, json_path)
            _write(json_path, report)
            console.print(table(part.name, figures))
    report["seconds"] = time.monotonic() - start
    _write(json_path, report)
    if json_path is not None:
        console.print(f"written: {json_path}")
    return all(figures["ended"] == "well" for figures in report["parts"].values())


def _run(
    part: Part,
    options: list[str],
    limit: float,
    figures: dict[str, Any],
    report: dict[str, Any],
    json_path: Path | None,
) -> None:
    """Run a part in a process group of its own; its rows and how it ended go into `figures`."""
    start = time.monotonic()
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", part.module, *options],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        timers = [
            threading.Timer(max(0, limit) + wait, _signal, [process, number])
            for wait, number in ((0, signal.SIGTERM), (GRACE, signal.SIGKILL))
        ]
        for timer in timers:
            timer.start()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    figures["rows"].append(json.loads(line))
                    _write(json_path, report)
            code = process.wait()
        finally:
            for timer in timers:
                timer.cancel()
            _signal(process, signal.SIGKILL)  # its workers too
        errors.seek(0)
        last = [line for line in errors.read().splitlines() if line.strip()][-12:]
    figures["seconds"] = time.monotonic() - start
    if code == 0:
        figures["ended"] = "well"
    else:
        cut_off = figures["seconds"] >= limit
        figures["ended"] = f"cut off after {limit:.0f} s" if cut_off else f"with code {code}"
        figures["errors"] = last


def _signal(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path is not None:
        write_json(path, report)


def machine(toy: bool) -> dict[str, Any]:
    """What is measured on."""
    return {
        "device": "cpu" if toy else torch.cuda.get_device_name(),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "toy": toy,
    }


def table(name: str, figures: dict[str, Any]) -> Table:
    """The single values of a part's rows, one row a line."""
    grid = Table(title=f"{name}: ended {figures['ended']}, {figures['seconds']:.0f} s")
    grid.add_column("", overflow="fold")
    for row in figures["rows"]:
        single = {key: value for key, value in row.items() if not isinstance(value, list | dict)}
        grid.add_row(Text("  ".join(f"{key} {_short(value)}" for key, value in single.items())))
    for line in figures.get("errors", []):
        grid.add_row(Text(line[:300], "red"))
    return grid


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
