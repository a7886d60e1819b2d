"""Ray for a while: our own handlers of signals before, inside and after."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
import ray

from nas.tune.session import collected_signals, ray_session


def test_signals_are_collected_while_ray_runs_and_after() -> None:
    received: list[int] = []
    with collected_signals(received), ray_session(None):
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
    received.clear()
    with collected_signals(received):
        with ray_session(None):
            pass
        os.kill(os.getpid(), signal.SIGTERM)  # the default would end this process
        assert received == [signal.SIGTERM]


def test_a_long_temporary_folder_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As batch systems set it; a Unix socket's path has at most 107 characters."""
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with ray_session(None):
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
