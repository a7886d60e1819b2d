"""NVIDIA MPS, under which kernels of several processes run on a GPU at the same time.

Without it they take turns, so several trials on a GPU train no more images per second than one;
with it 1.5 to 1.8 times as many (`runners/benchmark.py gpu`, docs/benchmarks.md).
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
DEFAULT_PIPES = Path("/tmp/nvidia-mps")  # where a daemon that somebody else started listens
TIMEOUT = 20  # seconds that a program may take
# A context on the first GPU, by the driver alone: PyTorch takes seconds to import.
PROBE = """
import ctypes
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
"""

logger = logging.getLogger(__name__)


def has_mps() -> bool:
    """Whether NVIDIA's control program is installed here, or a daemon of it runs."""
    return shutil.which(CONTROL) is not None or _runs_already()


@contextmanager
def mps() -> Iterator[bool]:
    """Run MPS for the processes that are started inside; gives whether it runs.

    A daemon that runs already is used and left running. One that does not let a process use the
    GPU is ended again, and the processes do without.
    """
    program = shutil.which(CONTROL)
    if program is None or _runs_already():
        yield _runs_already()
        return
    # The daemon may still write there for a moment, or not have ended when it was told to.
    with tempfile.TemporaryDirectory(prefix="nas-mps-", ignore_cleanup_errors=True) as folder:
        given = {PIPES: f"{folder}/pipe", LOGS: f"{folder}/log"}
        for path in given.values():
            Path(path).mkdir()
        environment = os.environ | given
        if not _works([program, "-d"], "", environment):
            yield False
            return
        if not _works([sys.executable, "-c", PROBE], "", environment):
            _works([program], "quit\n", environment)
            yield False
            return
        os.environ.update(given)
        try:
            yield True
        finally:
            for name in given:
                os.environ.pop(name, None)
            _works([program], "quit\n", environment)


def _runs_already() -> bool:
    return PIPES in os.environ or (DEFAULT_PIPES / "control").exists()


def _works(command: list[str], line: str, environment: dict[str, str]) -> bool:
    """Whether a program does what it is asked for; the log says why not."""
    try:
        subprocess.run(
            command, env=environment, input=line, text=True, timeout=TIMEOUT, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("NVIDIA MPS is not used: %s", error)
        return False
    return True
