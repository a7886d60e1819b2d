"""Where the time of a training step goes, by operator, beside what its memory traffic takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_setting import Setting, main, row
from nas.space.arch import Arch, table2_arch
from nas.training import Trainer
from nas.training.memory import training_bytes

STEPS = 4
KINDS = (
    ("convolutions", r"conv|cudnn|wgrad|dgrad|implicit|xmma|sm\d+_"),
    ("batch norms", r"batch_norm"),
    ("optimizer", r"multi_tensor|Sgd|FusedSgd"),
    ("matrix products", r"gemm|cublas|cutlass|splitK|gemv"),
    ("sums", r"reduce"),
    ("copies and fills", r"[Mm]em(cpy|set)|fill|copy|cat|Cat"),
    ("elementwise", r"elementwise|vectorized|index|foreach"),
)


def run(setting: Setting) -> None:
    """Profile a step of each architecture, and of one that is 16 times as large."""
    data = setting.some_data()
    bytes_per_s = copy_rate(setting)
    architectures = dict(setting.architectures)
    if not setting.toy:
        architectures["Table 2 at width 1"] = table2_arch(1, 2, 4)
    for name, arch in architectures.items():
        moved = traffic(
            arch, data.info.image_size, data.info.in_channels, setting.recipe.batch_size
        )
        memory = {}
        if bytes_per_s is not None:  # a trial as a search trains it
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            setting.trainer(arch, data).train_epoch()
            images = len(data.train) + len(data.val)
            estimate = training_bytes(arch, data.info, setting.recipe, images)
            reserved = torch.cuda.max_memory_reserved()
            memory = {"reserved_mb": reserved / 1e6, "estimated_mb": estimate / 1e6}
        trial = setting.trainer(arch, data, graphed=False)
        row(arch=name, **by_operator(trial, moved, bytes_per_s), **memory)


def copy_rate(setting: Setting) -> float | None:
    """Bytes read and written per second by a large copy on the GPU; None without one."""
    if setting.device.type != "cuda":
        return None
    source = torch.empty(2**30, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    rate = 2 * 2**30 / replayed(lambda: target.copy_(source))
    row(copy_bytes_per_s=rate)
    return rate


def traffic(arch: Arch, side: int, channels: int, batch: int, bytes_each: int = 2) -> float:
    """Bytes of a step's feature maps, each read and written once in every pass that needs it.

    Batch norms divide a block into passes, since their statistics need all of their input.
    Forward, x is read, u (the depthwise convolution's output) is written and read, v (the
    contraction's) is written and read, x is read again for the shortcut and y is written.
    Backward, dy and v are read for the expansion's weights and dy again for dv, which is
    written; dv, v and u are read for the norm's sums and again for du, which is written; du, x
    and dy are read and dx is written.
    """
    pixels = side * side
    total = 4.0 * channels * pixels * 2 + 7.0 * arch.stem * pixels * bytes_each
    width = arch.stem
    for stage in arch.stages:
        for index in range(stage.repeats):
            before = pixels
            if index == 0 and stage.stride == 2:
                side = -(-side // 2)
                pixels = side * side
            shortcut = 2 * stage.width * pixels if width == stage.width and index else 0
            inner = stage.width // (2 * stage.p)
            forward = width * before + 2 * (width + inner) * pixels + stage.width * pixels
            backward = (2 * stage.width + 7 * inner + 4 * width) * pixels + 2 * width * before
            total += bytes_each * (forward + backward + shortcut)
            width = stage.width
    return batch * total


def by_operator(trial: Trainer, moved: float, bytes_per_s: float | None) -> dict[str, Any]:
    """Milliseconds of a step's operators, by kind and by name, beside those of its traffic.

    Args:
        trial: not graphed.
        moved: bytes that a step has to read and write, as `traffic` counts them.
        bytes_per_s: of the GPU's memory; None on a CPU.
    """
    cuda = trial.device.type == "cuda"
    trial.train_epoch()
    batch = next(iter(trial._train))
    rate = trial._each_step([0.01])[0]
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            trial._train_step(*batch, rate)
        if cuda:
            torch.cuda.synchronize()
    spent: Counter[str] = Counter()
    launches = 0.0
    for event in profiled.key_averages():
        microseconds = event.self_device_time_total if cuda else event.self_cpu_time_total
        if microseconds and not event.key.startswith("Optimizer."):  # a name for those inside it
            spent[event.key] += microseconds / 1e3 / STEPS
            launches += event.count / STEPS
    total = sum(spent.values())
    kinds: Counter[str] = Counter()
    for name, ms in spent.items():
        kinds[next((k for k, pattern in KINDS if re.search(pattern, name)), "others")] += ms
    figures: dict[str, Any] = {"operators_ms": total, "launches": launches, "moved_mb": moved / 1e6}
    if bytes_per_s is not None:
        least = 1e3 * moved / bytes_per_s
        figures |= {
            "traffic_ms": least,
            "over_traffic": total / least,
            "replayed_ms": 1e3 * replayed(lambda: trial._train_step(*batch, rate)),
        }
    figures["shares"] = {kind: ms / total for kind, ms in kinds.most_common()}
    return figures | {"operators": [[name[:110], ms] for name, ms in spent.most_common(25)]}


def replayed(work: Callable[[], Any], repetitions: int = 20) -> float:
    """Median seconds of `work` on the GPU, replayed as a CUDA graph as training does."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            work()
        times: list[float] = []
        for _ in range(repetitions):
            start, end = (torch.cuda.Event(True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
    return median(times)


if __name__ == "__main__":
    main(run)
