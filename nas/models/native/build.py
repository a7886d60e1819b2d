"""Compiling and loading the C++ of `native/`, once per machine: the CPU operators of `fused`.

Plain C++ behind ctypes compiles in some seconds and loads in milliseconds, for every shape
and both precisions. `torch.compile` of the same formulas took ten times as long, and some
seconds again in every process with its cache warm: more than short trials earn back.
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
# Apple's compiler knows no -fopenmp, some others no -march=native: the first that work.
FLAGS: tuple[list[str], ...] = (["-march=native", "-fopenmp"], ["-march=native"], [])
TIMEOUT = 300  # seconds that the compiler may take
_SUFFIX = {torch.float32: "float", torch.float64: "double"}
_Argument = Tensor | int | float | None


class KernelsUnavailableError(RuntimeError):
    """There is no C++ compiler, or it failed; one line that says why."""


def available() -> bool:
    """Whether the kernels can be used here; compiled or loaded at the first call.

    Where they cannot, a warning says so, once in a process.
    """
    return why_unavailable() is None


def why_unavailable() -> str | None:
    """Why the kernels cannot be used here, in one line; None where they can."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def call(name: str, dtype: torch.dtype, *arguments: _Argument) -> None:
    """Run the kernel `name` for `dtype`.

    Args:
        name: of a function that `native/kernels.cpp` exports, without the suffix of its type.
        dtype: float32 or float64, that of all tensors.
        arguments: as in the C++ source. Nothing is checked: tensors must be contiguous
            rows on the CPU, and stay alive until the call returns.
    """
    library = _load()
    assert not isinstance(library, str)
    getattr(library, f"{name}_{_SUFFIX[dtype]}")(*map(_to_c, arguments))


def supports(x: Tensor) -> bool:
    """Whether a kernel could read the feature map: on the CPU, channels-last, not empty."""
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
    for _ in range(2):  # a damaged file in the cache is compiled once more
        library = _library()
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            library.unlink(missing_ok=True)
            reason = str(error)
    raise KernelsUnavailableError(reason)


def _library() -> Path:
    """The compiled library in the cache; compiled there if it is not yet."""
    sources = [path.read_bytes() for path in sorted(NATIVE.glob("*.?pp"))]
    key = hashlib.sha256(b"".join([platform.machine().encode(), _cpu_flags(), *sources]))
    library = _cache_folder() / f"kernels-{key.hexdigest()[:16]}.so"
    # Actors start together: the first compiles, the others wait for it.
    try:
        with FileLock(f"{library}.lock", timeout=TIMEOUT):
            if not library.exists():
                _compile(library)
    except OSError as error:  # a full disk, or another process that never ends
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
    """What the processor can do: a cache on a shared disk serves machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")
