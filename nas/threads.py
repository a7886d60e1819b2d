"""How many CPU threads numerical libraries may use inside a `with` block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_owner = threading.RLock()  # held by the Python thread whose limit is in force


@cache  # searching the process for libraries takes longer than setting their threads
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Limit the BLAS of NumPy and SciPy to `number` threads; also usable as a decorator.

    The limit holds for the whole process. While one Python thread is inside such a block,
    the blocks of others change nothing, so that none restores the limit of another one.
    """
    if not _owner.acquire(blocking=False):
        yield
        return
    try:
        with _blas().limit(limits=number):
            yield
    finally:
        _owner.release()


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Limit PyTorch and the BLAS of NumPy and SciPy to `number` threads.

    For measurements: one Python thread at a time is inside, others wait at the entry.
    """
    import torch  # takes seconds, and `blas_threads` does without it

    with _owner, _blas().limit(limits=number):
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)
