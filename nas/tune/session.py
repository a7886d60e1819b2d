"""Ray for as long as something runs: one of our own on this machine, or a cluster's."""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

import ray
import torch
from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

logger = logging.getLogger(__name__)


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray of our own, reachable from this machine alone, or a connection to one that runs.

    The handlers of SIGINT and SIGTERM stay those that were there, and what Ray has to say
    goes to the log.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "ignore_reinit_error": False,
    }
    if address is None:
        options |= {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        options |= {"num_cpus": usable_cpus(), "num_gpus": torch.cuda.device_count()}
    else:
        options |= {"address": address}
    with _private() if address is None else nullcontext(), _logged():
        try:
            with _own_handlers():
                try:
                    ray.init(**options)
                except ConnectionError as error:
                    line = (str(error).splitlines() or [""])[0]
                    raise ValueError(f"--ray-address {address}: {line}") from None
            yield
        finally:
            with _heeding_sigterm():
                ray.shutdown()


def usable_cpus() -> int:
    """CPUs that this process may use: a container's quota and the affinity count, Ray sees one."""
    there = ray_utils.get_num_cpus()
    if hasattr(os, "sched_getaffinity"):
        there = min(there, len(os.sched_getaffinity(0)))
    return max(1, int(there))


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Ray started inside keeps our handlers; its own one leaves wherever it is, with code 15."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    given, ray_utils.set_sigterm_handler = ray_utils.set_sigterm_handler, lambda handler: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = given
        for number, handler in before.items():  # Ray's native part has put its own there
            signal.signal(number, handler)


@contextmanager
def _heeding_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM while Ray ends.

    Its native part puts the default in the place of ours, which would end this process at
    once, and goes on for a second; a thread puts ours back every few milliseconds.
    """
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.restype = put.restype = ctypes.c_void_p
    get.argtypes, put.argtypes = [ctypes.c_int], [ctypes.c_int, ctypes.c_void_p]
    handler, ended = get(signal.SIGTERM), threading.Event()

    def keep() -> None:
        while not ended.wait(0.002):
            put(signal.SIGTERM, handler)

    keeper = threading.Thread(target=keep, name="keep-handler", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        put(signal.SIGTERM, handler)


@contextmanager
def _logged() -> Iterator[None]:
    """Ray prints on standard output that a worker died, also into a live view or JSON."""

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logger.info("%s: %s", data.get("pid"), " ".join(data["lines"]))

    given, ray_worker.print_to_stdstream = ray_worker.print_to_stdstream, log
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = given


@contextmanager
def _private() -> Iterator[None]:
    """Ray started inside listens on 127.0.0.1 alone, with a token that no file holds."""
    # Unless it runs no cluster, Ray puts an address of the machine in the place of 127.0.0.1,
    # and listens everywhere.
    cluster, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not given:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = cluster
        if not given:
            del os.environ["RAY_AUTH_TOKEN"]
            AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def collected_signals(received: list[int]) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in `received`; the second one ends the process at once."""

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
