"""How many CPU threads numerical libraries take, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

_libraries = cache(ThreadpoolController)  # to look for them takes longer than to set them


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """PyTorch, NumPy and SciPy on so many threads inside, as before afterwards; a decorator too.

    They are those of the whole process: not for two Python threads at once. A library that is
    loaded after the first call keeps its own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with _libraries().limit(limits=number, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
