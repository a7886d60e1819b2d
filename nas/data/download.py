"""Downloads that are given up within seconds when there is no network."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from nas.data.splits import DatasetError

CONNECT_SECONDS = 5.0  # for name resolution, connection and first answer together
STALL_SECONDS = 30.0  # without a byte, in the middle of a download


class NotDownloaded(DatasetError):
    """A data set that is not on this machine and was not to be downloaded."""

    def __init__(self, name: str, data_dir: Path, url: str, size: int) -> None:
        super().__init__(
            f"{name}: not found in {data_dir}; {round(size / 1e6)} MB would be downloaded "
            f"from {url}"
        )


def unreachable(url: str) -> str | None:
    """Why `url` cannot be reached, or None if its server answers; within `CONNECT_SECONDS`."""
    outcome: list[str | None] = ["no answer"]

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "nas"})
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_SECONDS):
                outcome[0] = None
        except urllib.error.HTTPError as error:
            outcome[0] = f"HTTP status {error.code}"
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            outcome[0] = str(getattr(reason, "strerror", None) or reason)

    # No timeout of urllib's covers name resolution, so the whole is timed from outside.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return outcome[0]


@contextmanager
def downloading(name: str, url: str, data_dir: Path) -> Iterator[None]:
    """Guard a download into `data_dir`: one at a time, no stall, no retry without a network.

    Raises:
        DatasetError: nothing answers at `url`, or the download inside failed.
    """
    reason = unreachable(url)
    if reason is not None:
        raise DatasetError(
            f"{name}: not found in {data_dir} and cannot be downloaded from {url} ({reason})"
        )
    before = socket.getdefaulttimeout()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / ".download.lock"):
            socket.setdefaulttimeout(STALL_SECONDS)
            yield
    except (OSError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise DatasetError(f"{name}: the download from {url} failed ({line})") from None
    finally:
        socket.setdefaulttimeout(before)
