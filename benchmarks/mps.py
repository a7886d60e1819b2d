"""NVIDIA MPS, under which kernels of several processes run on a GPU at the same time."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
TIMEOUT = 20  # seconds that the control program may take

logger = logging.getLogger(__name__)


@contextmanager
def mps() -> Iterator[bool]:
    """Run MPS for the processes that are started inside; gives whether it runs.

    It does not run without a GPU or without its control program.
    """
    program = shutil.which(CONTROL)
    if program is None or not torch.cuda.is_available():
        yield False
        return
    with tempfile.TemporaryDirectory(prefix="nas-mps-") as folder:
        given = {PIPES: f"{folder}/pipe", LOGS: f"{folder}/log"}
        for path in given.values():
            Path(path).mkdir()
        if not _works([program, "-d"], "", os.environ | given):
            yield False
            return
        os.environ.update(given)
        try:
            yield True
        finally:
            _works([program], "quit\n", dict(os.environ))
            for name in given:
                del os.environ[name]


def _works(command: list[str], line: str, environment: dict[str, str]) -> bool:
    """Whether the control program does what it is asked for; the log says why not."""
    try:
        subprocess.run(
            command, env=environment, input=line, text=True, timeout=TIMEOUT, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("MPS: %s", error)
        return False
    return True
