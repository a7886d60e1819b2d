"""Ray for a while, with our own handlers of signals all the time."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from nas.tune.session import collected_signals, ray_session


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux shows what is caught")
def test_sigterm_is_heeded_until_ray_has_ended() -> None:
    """Also in the second in which Ray's native part has put the default in its place."""
    received: list[int] = []
    ignored = threading.Event()
    ended, seen = threading.Event(), 0

    def caught() -> bool:
        status = Path("/proc/self/status").read_text()
        mask = int(status.split("SigCgt:")[1].split()[0], 16)
        return bool(mask >> (signal.SIGTERM - 1) & 1)

    def watch() -> None:
        nonlocal seen
        since = None
        while not ended.wait(0.001):
            seen += 1
            if caught():
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since > 0.3:
                ignored.set()

    with collected_signals(received):
        with ray_session(None):
            watcher = threading.Thread(target=watch)
            watcher.start()
        ended.set()
        watcher.join()
        assert seen > 50
        assert not ignored.is_set()
        assert caught()
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
