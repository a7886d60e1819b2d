"""Latency of one forward pass, measured in turns with a control network."""

from __future__ import annotations

import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.deploy.onnx_runtime import ONNX_PACKAGES, open_session, to_onnx
from nas.deploy.quantise import quantise_model
from nas.format import format_number
from nas.models import DyClotNet
from nas.models.fold import fold
from nas.models.native.fused import use_fused
from nas.space.arch import table2_arch

WARM_UP = 0.05  # seconds for each network
BLOCKS, BLOCK_ROUNDS = 10, 10  # one round runs the network, then the control
ROUND_SECONDS = 2e-3  # least time of a network in a round, much longer than the clock's step
CONTROL = table2_arch(0.25, 2, 4)
INT8 = "onnxruntime-int8"
BACKENDS = ("pytorch", "onnxruntime", INT8)  # what runs a network

Pass = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Latency:
    """Latency of one forward pass, and its uncertainty."""

    seconds: float  # median over blocks of rounds, of the fastest round of each
    relative: float  # median ratio to the control network, of the fastest rounds of a block
    noise: float  # relative standard error of that ratio, see `_median_error`
    control: float  # seconds of the control network, as `seconds`
    control_spread: float  # its interquartile range, divided by its median
    batch: int  # images per pass
    threads: int  # CPU threads


def measure(
    network: nn.Module,
    image_size: int,
    in_channels: int,
    device: torch.device,
    batch: int = 1,
    compiled: bool = False,
    backend: str = BACKENDS[0],
) -> Latency:
    """Time the form of `network` that would be deployed: folded.

    PyTorch runs it in channels-last memory and with the C++ kernels, ONNX Runtime as an exported
    model, in float or quantised as `nas.deploy.quantise` does.

    On one CPU thread the clock is the thread's own time, which does not advance while other
    processes have the processor. On several threads, and on a GPU, it is the wall clock.

    Other load on the machine only ever makes a pass slower, so that the fastest round of a block
    is the least disturbed one. Load that lasts slows the control network alike: measurements at
    different times should be compared by `relative`.

    Args:
        network: on any device; it is copied, not changed.
        image_size: side of the square images, pixels.
        in_channels: channels of an image.
        device: where the network runs.
        batch: images per pass.
        compiled: whether both networks are compiled with `torch.compile`.
        backend: one of `BACKENDS`, what runs both; ONNX Runtime does on the CPU.
    """
    control = DyClotNet(CONTROL, in_channels, 10)
    passes = [
        _pass(one, image_size, in_channels, device, batch, compiled)
        if backend == "pytorch"
        else _onnx_pass(one, image_size, in_channels, batch, int8=backend == INT8)
        for one in (control, network)
    ]
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time_passes(
        passes[1], passes[0], batch, time.thread_time if alone else time.perf_counter
    )


def time_passes(run: Pass, control: Pass, batch: int, clock: Clock) -> Latency:
    """Time `run` in rounds between runs of `control`; both wait for their device."""
    repeats = [_warm_up(one, clock) for one in (control, run)]
    seconds, controls = [], []  # of each block
    for _ in range(BLOCKS):
        rounds = [
            (_time(run, repeats[1], clock), _time(control, repeats[0], clock))
            for _ in range(BLOCK_ROUNDS)
        ]
        seconds.append(min(of_run for of_run, _ in rounds))
        controls.append(min(of_control for _, of_control in rounds))
    ratios = [of_run / of_control for of_run, of_control in zip(seconds, controls, strict=True)]
    return Latency(
        seconds=statistics.median(seconds),
        relative=statistics.median(ratios),
        noise=_median_error(ratios),
        control=statistics.median(controls),
        control_spread=_spread(controls),
        batch=batch,
        threads=torch.get_num_threads(),
    )


def require_backend(name: str, gpu: bool) -> None:
    """Raise ValueError where a backend is unknown, not installed, or not for this device."""
    if name not in BACKENDS:
        raise ValueError(f"--latency-backend: {name[:40]!r}; accepted: {', '.join(BACKENDS)}")
    if name == "pytorch":
        return
    missing = [package for package in ONNX_PACKAGES if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"--latency-backend {name}: needs {', '.join(missing)}, not installed; "
            "pip install 'dyclotnet-nas[export]'"
        )
    if gpu:
        raise ValueError(
            f"--latency-backend {name}: measures on the CPU; accepted: pytorch with trials on a "
            "GPU, or --gpus-per-trial 0"
        )


def machine_identity(
    device: torch.device, threads: int | None = None, backend: str = BACKENDS[0]
) -> str:
    """The machine that a latency depends on: latencies of two identities never mix.

    It names the processor, its cores and the threads in use (or the GPU), and the backend with
    its version. It leaves out the host's name, which a container changes at each start.

    Args:
        device: where the network runs.
        threads: CPU threads; None means those of this process.
        backend: one of `BACKENDS`.
    """
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    threads = torch.get_num_threads() if threads is None else threads
    if backend == "pytorch":
        runs = f"torch {torch.__version__}"
    else:
        runs = f"onnxruntime {version('onnxruntime')}{', int8' if backend == INT8 else ''}"
    cores = format_number(os.cpu_count() or 1, "core")
    return f"{_processor()}, {cores}, {format_number(threads, 'thread')}, {runs}"


def stored_identity(machine: str) -> str:
    """A machine's identity as `machine_identity` writes it; earlier versions wrote "1 threads"."""
    return re.sub(r", 1 (core|thread)s\b", r", 1 \1", machine)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _pass(
    network: nn.Module,
    image_size: int,
    in_channels: int,
    device: torch.device,
    batch: int,
    compiled: bool,
) -> Pass:
    folded = fold(network).to(device).to(memory_format=torch.channels_last)
    if compiled:
        folded.compile()
    elif device.type == "cpu":
        use_fused(folded)
    images_BCHW: Tensor = torch.rand(batch, in_channels, image_size, image_size, device=device)
    images_BCHW = images_BCHW.to(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            folded(images_BCHW)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _onnx_pass(
    network: nn.Module, image_size: int, in_channels: int, batch: int, int8: bool
) -> Pass:
    images_BCHW = torch.rand(batch, in_channels, image_size, image_size)
    with torch.inference_mode(False):  # an export needs tensors that track versions
        folded = fold(network).cpu().to(memory_format=torch.contiguous_format)
        program = torch.export.export(folded, (images_BCHW,))
    model = to_onnx(program)
    if int8:  # the values of its scales do not change how long it takes
        model = quantise_model(model, images_BCHW)
    run = open_session(model.SerializeToString(), torch.get_num_threads())
    return partial(run, images_BCHW)


def _warm_up(run: Pass, clock: Clock) -> int:
    """Run for `WARM_UP` seconds; returns the number of passes that fill a round."""
    run()  # compiles, allocates
    start, passes = clock(), 0
    while (elapsed := clock() - start) < WARM_UP:
        run()
        passes += 1
    return max(1, round(ROUND_SECONDS * passes / elapsed))


def _time(run: Pass, repeats: int, clock: Clock) -> float:
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats


def _median_error(values: list[float]) -> float:
    """Standard error of the median, divided by the median, as of normal values.

    Their deviation is the interquartile range / 1.349, so that outliers do not count, and the
    median of n has sqrt(pi / 2n) times the deviation.
    """
    return _spread(values) / 1.349 * math.sqrt(math.pi / (2 * len(values)))


def _spread(values: list[float]) -> float:
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle
