"""Ray: nodes that disappear, a full object store, and who may reach it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers import MARK, Search, ended
from optuna.trial import TrialState
from servers import free_port


class Cluster:
    """A Ray of two nodes on this machine, one CPU each."""

    def __init__(self, mark: str, store: int) -> None:
        self.port = free_port()
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",  # else 15: on a busy machine no trial ever starts
            MARK: mark,
        }
        size = f"--object-store-memory={store}"
        self._start("--head", f"--port={self.port}", "--include-dashboard=false", size)
        self.second = self._start(f"--address=127.0.0.1:{self.port}", size)

    def _start(self, *options: str) -> subprocess.Popen[str]:
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "start", *options, "--num-cpus=1", "--disable-usage-stats", "--block"]
        process = subprocess.Popen(
            command,
            env=os.environ | self.environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert any("Ray runtime started" in line for line in process.stdout)
        return process


@pytest.mark.faults
def test_a_node_is_lost(make_search: Callable[..., Search], record: Callable[..., None]) -> None:
    search = make_search(epochs=2, images=1000)
    cluster = Cluster(search.mark, 200_000_000)
    search.options += ("--ray-address", f"127.0.0.1:{cluster.port}")
    search.environment = cluster.environment
    driver = search.start()
    search.wait_until(lambda: search.finished() >= 8, driver)
    assert driver.poll() is None
    os.killpg(cluster.second.pid, signal.SIGKILL)
    done = ended(driver, 600)
    assert done.returncode == 0, done.stderr
    search.assert_true()
    failed = [trial for trial in search.trials() if trial.state == TrialState.FAIL]
    record(failed=len(failed))


FILL = """
import ray, numpy, sys, time
ray.init(address=sys.argv[1], log_to_driver=False)
held = [ray.put(numpy.random.bytes(5_000_000)) for _ in range(40)]
print("full", flush=True)
time.sleep(3600)
"""


@pytest.mark.faults
def test_a_full_object_store(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    """Another program of the cluster holds more than the store's memory."""
    search = make_search(budget=12)
    cluster = Cluster(search.mark, 80_000_000)
    address = f"127.0.0.1:{cluster.port}"
    filler = subprocess.Popen(
        [sys.executable, "-c", FILL, address],
        env=os.environ | cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert filler.stdout is not None
    assert filler.stdout.readline() == "full\n"
    search.options += ("--ray-address", address)
    search.environment = cluster.environment
    done = search.run()
    filler.kill()
    filler.wait()
    assert done.returncode == 0, done.stderr
    search.assert_true()
    record()


def listening(pids: set[int]) -> set[str]:
    """Addresses at which these processes listen, in the kernel's hexadecimal form."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                sockets[words[9]] = words[1]
    found = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    found.add(sockets.get(target[8:-1], ""))
    return found - {""}


LOOPBACK = ("0100007F:", "0000000000000000FFFF00000100007F:", f"{'0' * 24}01000000:")


def token_of(pid: int) -> str | None:
    """Ray's token in the environment of a process, which its owner alone may read."""
    variables: list[str] = []
    with contextlib.suppress(OSError):
        variables = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    return next((v.split("=")[1] for v in variables if v.startswith("RAY_AUTH_TOKEN=")), None)


def knock(port: str, token: str) -> str:
    """What comes of a connection to Ray with this token."""
    code = (
        "from ray._raylet import GcsClient\n"
        f"GcsClient(address='127.0.0.1:{port}').internal_kv_keys(b'', None)\nprint('welcome')"
    )
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    command = ["timeout", "60", sys.executable, "-c", code]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    return ran.stdout + ran.stderr


@pytest.mark.faults
def test_ray_listens_on_this_machine_alone_and_asks_for_a_token(
    make_search: Callable[..., Search], record: Callable[..., None]
) -> None:
    search = make_search()
    driver = search.start()
    search.wait_until(lambda: search.finished() >= 2, driver)
    processes = dict(search.processes())
    addresses = listening(set(processes))
    assert len(addresses) >= 4
    assert all(address.startswith(LOOPBACK) for address in addresses), addresses
    (port,) = {
        word.rsplit(":", 1)[1]
        for words in processes.values()
        for word in words.split()
        if word.startswith("--gcs-address=")
    }
    token = next(token for pid in processes if (token := token_of(pid)))
    assert "InvalidAuthToken" in knock(port, secrets.token_hex(32))
    assert "welcome" in knock(port, token)
    driver.send_signal(signal.SIGTERM)
    assert ended(driver).returncode == 143
    record(addresses=len(addresses))
