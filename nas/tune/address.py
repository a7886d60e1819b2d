"""Whether a Ray cluster answers at an address.

`ray.init` tries for one to two minutes, whatever is at the address, before it gives up.
"""

from __future__ import annotations

import os
import socket
import time

PATIENCE = 10.0  # seconds for which an address that refuses is tried again; a head may be starting
ANSWER = 5.0  # seconds that a server may take to answer
PAUSE = 0.5  # seconds between two tries
# What a client of HTTP/2, on which gRPC and so Ray are built, sends first (RFC 9113, section 3.4):
# the preface and a frame of settings without any. A server answers with its settings.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
FRAME_TYPE, SETTINGS = 3, 4


def require_ray(address: str) -> None:
    """Make sure, within about 15 seconds, that something at the address speaks Ray's protocol.

    Args:
        address: `HOST:PORT` or `ray://HOST:PORT`; others, such as `auto`, are left to Ray.

    Raises:
        ValueError: nothing listens there, or it is another service.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    end = time.monotonic() + PATIENCE
    while True:
        try:
            problem = _problem(host.strip("[]"), int(port))
        except (OSError, OverflowError) as error:
            problem = f"nothing answers ({getattr(error, 'strerror', None) or error})"
            if time.monotonic() < end:
                time.sleep(PAUSE)
                continue
        if problem is not None:
            raise ValueError(
                f"--ray-address {address}: {problem}; accepted: HOST:PORT of the head of a Ray "
                "cluster that runs (ray start --head prints it), or auto"
            )
        return


def _problem(host: str, port: int) -> str | None:
    """What is wrong with a server that can be reached; None where it speaks HTTP/2."""
    with socket.create_connection((host, port), timeout=ANSWER) as connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return None  # it answers after a handshake with Ray's certificates alone
        connection.sendall(HELLO)
        try:
            answer = connection.recv(9)
        except (TimeoutError, ConnectionResetError):
            answer = b""
    if len(answer) > FRAME_TYPE and answer[FRAME_TYPE] == SETTINGS:
        return None
    return "the service there is not Ray" if answer else "the service there does not answer as Ray"
