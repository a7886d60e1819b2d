"""A wrong `--ray-address` is one line within seconds; Ray itself would try for minutes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from nas.training import get_recipe
from nas.tune import address
from nas.tune.address import require_ray
from nas.tune.retrain_request import RetrainRequest, resolve
from nas.tune.session import ray_session


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def web() -> Iterator[str]:
    """A server of HTTP/1, such as Ray's own dashboard."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_another_service_is_named_at_once(
    web: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "ANSWER", 0.5)
    for where, says in ((web, "is not Ray"), (silent, "does not answer as Ray")):
        began = time.monotonic()
        match = f"--ray-address {where}: .*{says}; accepted"
        with pytest.raises(ValueError, match=match) as error, ray_session(where):
            pass
        assert "\n" not in str(error.value)
        assert time.monotonic() - began < 5


def test_a_closed_port_is_tried_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "PATIENCE", 1.2)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"nothing answers \(Connection refused\)"):
        require_ray("127.0.0.1:1")
    assert 1.2 <= time.monotonic() - began < 10


def test_a_head_that_is_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something listens after a second; it then speaks for itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    started: list[socket.socket] = []

    def start() -> None:
        started.append(socket.create_server(("127.0.0.1", int(where.split(":")[1]))))

    timer = threading.Timer(1.0, start)
    timer.start()
    monkeypatch.setattr(address, "ANSWER", 0.5)
    with pytest.raises(ValueError, match="does not answer as Ray"):
        require_ray(where)
    timer.join()
    started[0].close()


def test_ray_answers() -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        require_ray(cluster.address)
        require_ray("auto")  # left to Ray
    finally:
        cluster.shutdown()


def test_a_retraining_is_refused_before_it_reads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "PATIENCE", 0.0)
    request = RetrainRequest(
        front=tmp_path / "missing.json", select=None, recipe=get_recipe("full"),
        learning_rates=(), seeds=1, references=(), export=(), concurrency=None, threads=None,
        data_dir=tmp_path, ray_address="127.0.0.1:1",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"--ray-address 127\.0\.0\.1:1: nothing answers"):
        resolve(request)
