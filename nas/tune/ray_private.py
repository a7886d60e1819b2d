"""Everything that this project uses of Ray without a promise that it stays.

`tests/tune/test_ray_private.py` says what is lost where a version of Ray has one of the names
no longer; the upper bound of Ray in `pyproject.toml` is the version that has them all.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

logger = logging.getLogger(__name__)

LOOPBACK = {"_node_ip_address": "127.0.0.1"}
"""Options of `ray.init` for a Ray that listens on 127.0.0.1, inside `loopback_only`."""


SOCKET_FOLDER = "/tmp/ray"
LONGEST_FOLDER = 40  # characters; Ray adds 66, and a socket's path has at most 107


def temporary_folder() -> dict[str, str]:
    """Options of `ray.init` where TMPDIR is too long for the paths of Ray's sockets.

    Batch systems set such a TMPDIR.
    """
    if len(tempfile.gettempdir()) + len("/ray") <= LONGEST_FOLDER:
        return {}
    return {"_temp_dir": SOCKET_FOLDER}


def cpu_quota() -> int:
    """CPUs of this machine, or the quota of the container that this process runs in."""
    return int(ray_utils.get_num_cpus())


def trial_actor(trial: Any) -> Any | None:
    """The actor that runs a trial of Ray Tune; None where it has none yet."""
    return trial.temporary_state.ray_actor


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Keep this process's handlers of SIGINT and SIGTERM while Ray starts or ends inside.

    Ray's handler of SIGTERM would leave with exit code 15. While Ray ends, its native part
    puts the default in the place of a handler for about a second: a SIGTERM at that moment
    ends the process at once, which to a shell is exit code 143 all the same.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    given, ray_utils.set_sigterm_handler = ray_utils.set_sigterm_handler, lambda handler: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = given
        for number, handler in before.items():  # also where Python believes that it is there
            signal.signal(number, handler)


@contextmanager
def worker_messages_logged() -> Iterator[None]:
    """Log what Ray would print of its workers, such as their deaths, on standard output."""

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logger.info("%s: %s", data.get("pid"), " ".join(data["lines"]))

    given, ray_worker.print_to_stdstream = ray_worker.print_to_stdstream, log
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = given


@contextmanager
def loopback_only() -> Iterator[None]:
    """A Ray that is started inside listens on 127.0.0.1 alone, with a token that no file holds."""
    # Where Ray may run a cluster, it replaces 127.0.0.1 by an address of the machine and
    # listens everywhere.
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
