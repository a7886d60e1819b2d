"""Commands and examples of the documents, in their order."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from in_process import exit_code

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs/tutorial.md"
DOCUMENTS = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "results/README.md",
    ROOT / "results/reference-fashion-mnist/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def blocks(document: Path) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def lines(text: str) -> list[str]:
    """The commands of a shell block; continued lines are joined."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in joined if line.strip() and not line.startswith("#")]


def commands(document: Path) -> list[str]:
    """Every shell command of a document."""
    return [line for language, text in blocks(document) if language == "sh" for line in lines(text)]


def program_arguments(line: str) -> tuple[str, list[str]] | None:
    """The command of this program that a line calls, and its arguments; None for any other."""
    words = shlex.split(line)
    for index, word in enumerate(words):
        if match := re.fullmatch(r"runners/(\w+)\.py", word):
            return match[1], words[index + 1 :]
        if word == "nas" and index + 1 < len(words):
            return words[index + 1], words[index + 2 :]
    if words[:3] == ["docker", "compose", "run"]:
        return words[4], words[5:]
    return None


def replaced(arguments: list[str], options: dict[str, str]) -> list[str]:
    """`arguments` with these values of options in the place of their own."""
    kept = list(arguments)
    for option in options:
        if option in kept:
            index = kept.index(option)
            del kept[index : index + 2]
    return [*kept, *(word for item in options.items() for word in item)]


def run(folder: Path, command: str, arguments: list[str]) -> str:
    """Run `runners/COMMAND.py` in `folder`; its standard output.

    What trains has a process of its own.
    """
    if command == "retrain" or (command == "search" and "--dry-run" not in arguments):
        return _run(folder, [str(ROOT / "runners" / f"{command}.py"), *arguments])
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as errors:
        code = exit_code(folder, command, *arguments)
    assert code == 0, errors.getvalue()
    return out.getvalue()


def run_example(folder: Path, code: str) -> str:
    """Run a Python example in `folder`; its standard output."""
    return _run(folder, ["-c", code])


def _run(folder: Path, words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
