"""Compile and load the C++ kernels, once per machine.

Plain C++ behind ctypes compiles in some seconds and loads in milliseconds, for every shape
and both precisions. `torch.compile` of the same formulas took ten times as long, and some
seconds more in every process although its cache was warm: more than short trials gain.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

LOG = logging.getLogger(__name__)
NATIVE = Path(__file__).parent
SOURCE = NATIVE / "kernels.cpp"
# Apple's compiler lacks -fopenmp, some others lack -march=native: the first flags that work.
FLAGS: tuple[list[str], ...] = (["-march=native", "-fopenmp"], ["-march=native"], [])
TIMEOUT = 300  # seconds that the compiler may take
_SUFFIX = {torch.float32: "float", torch.float64: "double"}
_Argument = Tensor | int | float | None


class KernelsUnavailableError(RuntimeError):
    """There is no C++ compiler, or it failed; the message is one line with the reason."""


def available() -> bool:
    """Whether the kernels can be used here; the first call compiles or loads them.

    Where they cannot, a warning says why, once in a process.
    """
    return why_unavailable() is None


def why_unavailable() -> str | None:
    """Why the kernels cannot be used here, in one line; None where they can."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def call(name: str, dtype: torch.dtype, *arguments: _Argument) -> None:
    """Run the kernel `name` for `dtype`.

    Args:
        name: a function that `kernels.cpp` exports, without the suffix of its type.
        dtype: type of all tensors, float32 or float64.
        arguments: those of the C++ function. Nothing is checked: tensors must be contiguous
            rows on the CPU, and stay alive until the call returns.
    """
    library = _load()
    assert not isinstance(library, str)
    getattr(library, f"{name}_{_SUFFIX[dtype]}")(*map(_to_c, arguments))


def supports(x: Tensor) -> bool:
    """Whether a kernel can read the feature map: on the CPU, channels-last, not empty."""
    return (
        x.device.type == "cpu"
        and x.dtype in _SUFFIX
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
    )


def _to_c(argument: _Argument) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_double | None:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, float):
        return ctypes.c_double(argument)
    return None if argument is None else ctypes.c_int64(argument)


@functools.cache
def _load() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    try:
        return _open()
    except KernelsUnavailableError as error:
        LOG.warning("training with PyTorch's own operators, which are slower: %s", error)
        return str(error)


def _open() -> ctypes.CDLL:
    reason = ""
    for _ in range(2):  # a damaged file in the cache is compiled again
        library = _library()
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            library.unlink(missing_ok=True)
            reason = str(error)
    raise KernelsUnavailableError(reason)


def _library() -> Path:
    """The compiled library in the cache; compiles it where it is missing."""
    sources = [path.read_bytes() for path in sorted(NATIVE.glob("*.?pp"))]
    key = hashlib.sha256(b"".join([platform.machine().encode(), _cpu_flags(), *sources]))
    library = _cache_folder() / f"kernels-{key.hexdigest()[:16]}.so"
    # Actors start at the same time: the first one compiles, the others wait for it.
    try:
        with FileLock(f"{library}.lock", timeout=TIMEOUT):
            if not library.exists():
                _compile(library)
    except OSError as error:  # a full disk, or a process that holds the lock for too long
        raise KernelsUnavailableError(f"{library} cannot be written ({error})") from None
    return library


def _compile(library: Path) -> None:
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None or shutil.which(compiler) is None:
        raise KernelsUnavailableError("no C++ compiler found (set CXX, or install g++ or clang++)")
    handle, temporary = tempfile.mkstemp(dir=library.parent, suffix=".so")
    os.close(handle)
    reason = ""
    try:
        for flags in FLAGS:
            command = [compiler, "-O3", "-std=c++17", "-shared", "-fPIC", *flags]
            try:
                done = subprocess.run(
                    [*command, str(SOURCE), "-o", temporary],
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise KernelsUnavailableError(f"{compiler} failed ({error})") from None
            if done.returncode == 0:
                Path(temporary).replace(library)
                return
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            reason = errors[0] if errors else f"exit code {done.returncode}"
        raise KernelsUnavailableError(f"{compiler} failed ({reason})")
    finally:
        Path(temporary).unlink(missing_ok=True)


@functools.cache
def _cache_folder() -> Path:
    """`NAS_CACHE_DIR`, or the user's cache folder, or a temporary one if that is not writable."""
    named = os.environ.get("NAS_CACHE_DIR")
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named) if named else root / "nas"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="nas-"))


def _cpu_flags() -> bytes:
    """The processor's features: a cache on a shared disk serves machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")
