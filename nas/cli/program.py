"""The program as it was called, so that a command which it prints can be pasted."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

CANONICAL = "nas"  # how the help texts in the source write it


def launcher() -> list[str]:
    """The words before the command: `nas`, `python -m nas`, or `python runners/NAME.py`."""
    words = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    if words[-2:-1] != ["-m"] and not words[-1].endswith(".py"):
        words = words[-1:]  # a console script: Python was not typed
    found = shutil.which(Path(words[0]).name)
    same = found is not None and Path(found).absolute() == Path(words[0]).absolute()
    return [Path(words[0]).name if same else words[0], *words[1:]]


def command_line(command: str, *arguments: str) -> str:
    """A command of this program with its arguments, quoted for a shell."""
    words = launcher()
    if words[-1].endswith(".py"):
        words = [*words[:-1], str(Path(words[-1]).with_name(f"{command}.py"))]
    else:
        words = [*words, command]
    return shlex.join([*words, *arguments])


def same_command_line() -> str:
    """The command line that is running, quoted for a shell."""
    return shlex.join([*launcher(), *sys.argv[1:]])


def localise(text: str) -> str:
    """A help text whose examples, lines such as `  nas search ...`, are as they were called."""
    return re.sub(
        rf"^(\s+){CANONICAL} (\w+)", lambda m: m[1] + command_line(m[2]), text, flags=re.MULTILINE
    )


def announce(work: str) -> None:
    """Say on standard error what has begun, before imports that take seconds."""
    print(f"{CANONICAL}: {work} ...", file=sys.stderr, flush=True)
