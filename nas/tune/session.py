"""Ray for as long as something runs: one of our own on this machine, or a cluster's."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

import ray
import torch

from nas.tune.address import require_ray
from nas.tune.mps import mps
from nas.tune.ray_private import (
    LOOPBACK,
    cpu_quota,
    loopback_only,
    own_signal_handlers,
    temporary_folder,
    worker_messages_logged,
)


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray of our own that only this machine can reach, or a connection to a running one.

    Where there is a GPU, the workers of our own Ray share it through NVIDIA MPS if they can.
    The handlers of SIGINT and SIGTERM are the same before, inside and after, and Ray's
    messages go to the log.

    Args:
        address: of a Ray cluster; None: start a Ray on this machine.

    Raises:
        ValueError: no Ray runs at the address, or one of another version.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "ignore_reinit_error": False,
    }
    if address is None:
        options |= {"address": "local", "include_dashboard": False} | LOOPBACK
        options |= temporary_folder()
        options |= {"num_cpus": usable_cpus(), "num_gpus": torch.cuda.device_count()}
    else:
        require_ray(address)
        options |= {"address": address}
    own = address is None
    with (
        mps() if own and torch.cuda.device_count() else nullcontext(),
        loopback_only() if own else nullcontext(),
        worker_messages_logged(),
    ):
        try:
            with own_signal_handlers():
                try:
                    ray.init(**options)
                except (ConnectionError, ray.exceptions.RpcError) as error:
                    line = (str(error).splitlines() or [""])[0]
                    raise ValueError(f"--ray-address {address}: {line}") from None
                except RuntimeError as error:
                    if not str(error).startswith("Version mismatch"):
                        raise
                    line = " ".join(str(error).split())
                    raise ValueError(f"--ray-address {address}: {line}") from None
            yield
        finally:
            with own_signal_handlers():
                ray.shutdown()


def usable_cpus() -> int:
    """CPUs that this process may use, by the container's quota and by the affinity."""
    cpus = cpu_quota()
    if hasattr(os, "sched_getaffinity"):
        cpus = min(cpus, len(os.sched_getaffinity(0)))
    return max(1, cpus)


@contextmanager
def collected_signals(received: list[int]) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in `received`; the second signal ends the process at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
