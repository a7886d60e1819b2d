"""What a command shows while it waits for the workers of a Ray cluster."""

from __future__ import annotations

import time

from rich.console import Console

from nas.format import format_duration, parse_duration
from nas.study.resources import ClusterResources
from nas.tune.resources import find_resources

DEFAULT_WAIT = "5m"
LINE_EVERY = 30.0  # seconds between two lines where the output is no terminal


def parse_wait(text: str | None, address: str | None) -> float:
    """`--wait-for-workers` in seconds; 0 where there is no cluster.

    Raises:
        ValueError: no duration, or there is no cluster whose workers could be waited for.
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
    """`find_resources`, with a line about what is there and what is missing while it waits.

    Args:
        address: of a Ray cluster; None: this machine.
        needed: trials at once, and the CPUs and GPUs of each.
        patience: seconds.
        quiet: show nothing.
    """
    if address is None:
        return find_resources(None)
    trials, cpus, gpus = needed
    console = Console(stderr=True, quiet=quiet)
    shown, since = "", 0.0

    def waiting(there: ClusterResources, left: float) -> None:
        nonlocal shown, since
        missing = trials - there.fitting(cpus, gpus)
        line = (
            f"waiting for workers: Ray at {address} has {there}; missing: room for {missing} "
            f"more of {trials} trials with {cpus:g} CPUs and {gpus:g} GPUs each"
        )
        rest = f"for {format_duration(left)} more (--wait-for-workers)"
        status.update(f"{line}; {rest}")
        if not console.is_terminal and (line != shown or time.monotonic() - since >= LINE_EVERY):
            shown, since = line, time.monotonic()
            console.print(f"{line}; {rest}", highlight=False, soft_wrap=True)

    with console.status("connecting to Ray") as status:
        return find_resources(
            address, lambda there: there.fitting(cpus, gpus) >= trials, patience, waiting
        )
