"""What a study measures latency with, and on which machine."""

from __future__ import annotations

import math

import torch

from nas.deploy.latency import BACKENDS, machine_identity, measure, require_backend
from nas.format import format_latency
from nas.models import DyClotNet
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.limits import extreme, least
from nas.space.memory import operators
from nas.space.space import SearchSpace
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


def require_within(config: StudyConfig, gpu: bool, threads: int) -> float | None:
    """Make sure that one of the smallest networks is within the limit of latency.

    Returns:
        Seconds of the control network, with which the latencies of a study that begins are
        compared with the limit; None where there is no limit.

    Raises:
        ValueError: all of them take longer.
    """
    limit, info = config.limits.max_latency, config.dataset
    if limit is None or config.latency_backend is None:
        return None
    sizes = (info.image_size, info.in_channels, info.num_classes)
    device = torch.device("cuda" if gpu else "cpu")
    fastest = math.inf
    for arch in smallest_networks(config.space, *sizes):
        with cpu_threads(threads):
            network = DyClotNet(arch, *sizes[1:])
            taken = measure(network, *sizes[:2], device, backend=config.latency_backend)
        fastest = min(fastest, taken.seconds)
        if fastest <= limit:
            return taken.control
    raise ValueError(
        f"--max-latency {1e3 * limit:g}ms: the smallest network of {config.space.name} takes "
        f"{format_latency(fastest)} here; accepted: more than that"
    )


def smallest_networks(
    space: SearchSpace, image_size: int, in_channels: int, num_classes: int
) -> list[Arch]:
    """The networks of a space that have the fewest multiply-adds, and the fewest operators.

    In small networks the number of operators tells more of latency than their multiply-adds.
    """
    sizes = (image_size, in_channels, num_classes)
    by_macs = extreme(space, *sizes, lambda c: c.macs)
    most = cost(extreme(space, *sizes, lambda c: c.macs, largest=True), *sizes).macs + 1

    def score(arch: Arch) -> int:  # of equally many operators, the fewest multiply-adds
        return most * len(operators(arch, *sizes)) + cost(arch, *sizes).macs

    return list(dict.fromkeys([by_macs, least(space, score)]))
