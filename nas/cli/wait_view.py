"""Progress of waiting for the workers of a Ray cluster."""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text

from nas.format import format_duration, format_number, parse_duration
from nas.study.resources import ClusterResources
from nas.tune.resources import find_resources

DEFAULT_WAIT = "5m"
LINE_EVERY = 30.0  # seconds between two lines where the output is no terminal


def parse_wait(text: str | None, address: str | None) -> float:
    """`--wait-for-workers` in seconds; 0 where there is no cluster.

    Raises:
        ValueError: not a duration, or no cluster is given.
    """
    if address is None:
        if text is not None:
            raise ValueError("--wait-for-workers: accepted only beside --ray-address")
        return 0.0
    if text == "0":
        return 0.0
    return parse_duration("--wait-for-workers", text or DEFAULT_WAIT) or 0.0


def find_workers(
    address: str | None, needed: tuple[int, float, float], patience: float, quiet: bool
) -> ClusterResources:
    """`find_resources` with a line about available and missing resources while it waits.

    Args:
        address: of a Ray cluster; None: this machine.
        needed: trials at the same time, and the CPUs and GPUs of each.
        patience: maximum seconds to wait.
        quiet: show nothing.
    """
    if address is None:
        return find_resources(None)
    trials, cpus, gpus = needed
    console = Console(stderr=True, quiet=quiet, markup=False)  # IPv6 addresses have brackets
    last_line, last_time = "", 0.0

    def waiting(resources: ClusterResources, left: float) -> None:
        nonlocal last_line, last_time
        missing = trials - resources.fitting(cpus, gpus)
        line = (
            f"waiting for workers: Ray at {address} has {resources}; missing: room for {missing} "
            f"more of {format_number(trials, 'trial')} with {format_number(cpus, 'CPU')} and "
            f"{format_number(gpus, 'GPU')} each"
        )
        rest = f"for {format_duration(left)} more (--wait-for-workers)"
        status.update(Text(f"{line}; {rest}"))
        if not console.is_terminal and (
            line != last_line or time.monotonic() - last_time >= LINE_EVERY
        ):
            last_line, last_time = line, time.monotonic()
            console.print(f"{line}; {rest}", highlight=False, soft_wrap=True)

    with console.status("connecting to Ray") as status:
        return find_resources(
            address, lambda resources: resources.fitting(cpus, gpus) >= trials, patience, waiting
        )
