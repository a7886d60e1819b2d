"""What a study measures latency with, and on which machine."""

from __future__ import annotations

import torch

from nas.deploy.latency import BACKENDS, machine_identity, measure, require_backend
from nas.format import format_latency
from nas.models import DyClotNet
from nas.space.limits import extreme
from nas.study.config import StudyConfig
from nas.threads import cpu_threads


def choose_backend(asked: str | None, before: str | None, gpu: bool) -> str:
    """What latency is measured with: what is asked for, else what the study has.

    Args:
        asked: one of `nas.deploy.latency.BACKENDS`; None: the program chooses.
        before: that of the study as it is stored; None: there is none.
        gpu: whether trials run on a GPU.

    Raises:
        ValueError: it is not known, is not installed, or does not run there.
    """
    backend = asked or before or BACKENDS[0]
    require_backend(backend, gpu)
    return backend


def find_machine(threads: int, gpu: bool, backend: str) -> str:
    """Whose latencies a study holds: those of two machines, or thread counts, never mix.

    Raises:
        ValueError: trials run on a GPU, and this machine has none.
    """
    if gpu and not torch.cuda.is_available():
        raise ValueError(
            "--objectives latency with --gpus-per-trial: needs a GPU of the workers' kind where "
            "the search is started; accepted: macs or params, or a machine that has one"
        )
    return machine_identity(torch.device("cuda" if gpu else "cpu"), threads, backend)


def require_within(config: StudyConfig, gpu: bool, threads: int) -> None:
    """Make sure that the network of the fewest multiply-adds is within the limit of latency.

    Raises:
        ValueError: it takes longer.
    """
    limit, info = config.limits.max_latency, config.dataset
    if limit is None or config.latency_backend is None:
        return
    sizes = (info.image_size, info.in_channels, info.num_classes)
    smallest = DyClotNet(extreme(config.space, *sizes, lambda c: c.macs), *sizes[1:])
    with cpu_threads(threads):
        device = torch.device("cuda" if gpu else "cpu")
        measured = measure(smallest, *sizes[:2], device, backend=config.latency_backend)
    if measured.seconds > limit:
        raise ValueError(
            f"--max-latency {1e3 * limit:g}ms: the smallest network of {config.space.name} takes "
            f"{format_latency(measured.seconds)} here; accepted: more than that"
        )
