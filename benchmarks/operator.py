"""The compiled operators against plain ones: DCT with batch norm, and a whole block.

Forward and backward at the shapes of Table 2, batch 128, p = 2, 4, 8, on one thread. Versions
take turns, so that other load on the machine affects all of them; the result is ratios of
medians. Run as `python runners/benchmark.py operator --json FILE`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import geometric_mean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from nas.models import DCT, Bottleneck
from nas.models.native import build as kernels
from nas.models.native import operators
from nas.models.native.fused import use_fused
from nas.progress import Progress, silent
from nas.threads import cpu_threads

SHAPES = ((64, 32), (128, 16), (256, 8))
"""(channels, side of the feature map) of Table 2's three stages."""
P = (2, 4, 8)
BATCH = 128
R = 4  # reduction ratio of the recalibrator
Operator = Callable[[Tensor, DCT, nn.BatchNorm2d], Tensor]
Run = Callable[[], None]
Case = tuple[str, int, int, int]  # what, channels, side of the feature map, p


def repeated(x_BCHW: Tensor, dct: DCT, norm: nn.BatchNorm2d) -> Tensor:
    """The literal form: `Tensor.repeat`, add, `BatchNorm2d`."""
    g_BN = dct.recalibrator(x_BCHW)
    y_BNHW: Tensor = norm(x_BCHW.repeat(1, dct.p, 1, 1) + g_BN[:, :, None, None])
    return y_BNHW


def modules(x_BCHW: Tensor, dct: DCT, norm: nn.BatchNorm2d) -> Tensor:
    """The plain modules of `nas.models`, where the clones are one broadcast."""
    y_BNHW: Tensor = norm(dct(x_BCHW))
    return y_BNHW


OPERATORS: dict[str, tuple[Operator, torch.memory_format]] = {
    "repeat, NCHW": (repeated, torch.contiguous_format),
    "repeat, channels-last": (repeated, torch.channels_last),
    "modules, NCHW": (modules, torch.contiguous_format),
    "modules, channels-last": (modules, torch.channels_last),
    "fused": (operators.dct_batch_norm, torch.channels_last),
}


@dataclass(frozen=True)
class Row:
    """One shape: medians of seconds of forward plus backward, and peaks of memory."""

    what: str  # operator or block
    width: int  # channels after the expansion
    size: int  # side of the feature map
    p: int
    seconds: dict[str, float]  # by version
    peak_bytes: dict[str, int]  # allocated by PyTorch during forward and backward

    def speedup(self) -> float:
        """Seconds of the fastest plain version over those of the fused one."""
        plain = [seconds for name, seconds in self.seconds.items() if name != "fused"]
        return min(plain) / self.seconds["fused"]

    @property
    def memory(self) -> float:
        """Peak of the fused version over the lowest peak of a plain one."""
        return self.peak_bytes["fused"] / min(
            peak for name, peak in self.peak_bytes.items() if name != "fused"
        )


@dataclass(frozen=True)
class Start:
    """Seconds until the operator is available, each in a process of its own."""

    cold: float  # when it is compiled
    warm: float  # when it is loaded from the cache


def measure(
    shapes: Sequence[tuple[int, int]] = SHAPES,
    ps: Sequence[int] = P,
    batch: int = BATCH,
    repetitions: int = 15,
    progress: Progress = silent,
) -> list[Row]:
    """Time every version on every shape, on one thread.

    Args:
        shapes: (channels, side of the feature map).
        ps: expansion ratios.
        batch: images.
        repetitions: of each version, in turns; an extra first turn warms up.
        progress: follows the cases.

    Raises:
        RuntimeError: the fused operator cannot be compiled here.
    """
    if not kernels.available():
        raise RuntimeError(
            "the operators cannot be compiled; accepted: a machine with a C++ compiler"
        )
    work = [(what, *shape, p) for what in RUNS for shape in shapes for p in ps]
    with cpu_threads(1):
        return [_row(*case, batch, repetitions) for case in progress(work, len(work))]


def _row(what: str, width: int, size: int, p: int, batch: int, repetitions: int) -> Row:
    torch.manual_seed(0)
    runs = RUNS[what](width, size, p, batch)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return Row(
        what,
        width,
        size,
        p,
        {name: median(times[1:]) for name, times in seconds.items()},
        {name: peak_bytes(run) for name, run in runs.items()},
    )


def _operator_runs(width: int, size: int, p: int, batch: int) -> dict[str, Run]:
    dct, norm = DCT(width // p, p, max(1, width // R)), nn.BatchNorm2d(width)
    x_BCHW = torch.randn(batch, width // p, size, size)
    dy_BNHW = torch.randn(batch, width, size, size)
    leaves = [*dct.parameters(), *norm.parameters()]

    def bound(operator: Operator) -> Callable[[Tensor], Tensor]:
        return lambda x_BCHW: operator(x_BCHW, dct, norm)

    return {
        name: _run(bound(operator), leaves, x_BCHW, dy_BNHW, layout)
        for name, (operator, layout) in OPERATORS.items()
    }


def _block_runs(width: int, size: int, p: int, batch: int) -> dict[str, Run]:
    x_BNHW, dy_BNHW = torch.randn(2, batch, width, size, size)
    runs = {}
    for name, layout in (
        ("modules, NCHW", torch.contiguous_format),
        ("modules, channels-last", torch.channels_last),
        ("fused", torch.channels_last),
    ):
        block = Bottleneck(width, width, 1, "dct", p, max(1, width // R)).to(memory_format=layout)
        if name == "fused":
            use_fused(block)
        runs[name] = _run(block, [*block.parameters()], x_BNHW, dy_BNHW, layout)
    return runs


RUNS = {"operator": _operator_runs, "block": _block_runs}


def _run(
    function: Callable[[Tensor], Tensor],
    parameters: list[nn.Parameter],
    x: Tensor,
    dy: Tensor,
    layout: torch.memory_format,
) -> Run:
    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    dy = dy.contiguous(memory_format=layout)

    def run() -> None:
        torch.autograd.grad(function(x), [x, *parameters], dy)

    return run


def peak_bytes(run: Callable[[], None]) -> int:
    """Peak of the memory that PyTorch's allocator holds during `run`, less that before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # or the profiler writes to standard error
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = [
        event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def start_times() -> Start:
    """Compile into an empty cache, then load from it, in fresh processes."""
    code = (
        "import time, torch; from nas.models.native import build; start = time.perf_counter(); "
        "assert build.available(); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (
            float(
                subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "NAS_CACHE_DIR": folder},
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(2)
        )
    return Start(cold, warm)


def report(rows: Sequence[Row], start: Start) -> dict[str, Any]:
    """The figures as plain values, with versions and machine, for the JSON file."""
    of = {what: [row for row in rows if row.what == what] for what in RUNS}
    return {
        "batch": BATCH,
        "threads": 1,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rows": [{**asdict(row), "speedup": row.speedup(), "memory": row.memory} for row in rows],
        "speedup": {
            what: geometric_mean(row.speedup() for row in some) for what, some in of.items()
        },
        "start_seconds": asdict(start),
    }
