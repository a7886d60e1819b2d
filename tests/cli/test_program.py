"""Commands that the program prints are in the form in which it was called, and can be pasted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.cli.program import command_line, localise, same_command_line

FORMS = {
    "python runners/search.py": "python runners/retrain.py",
    ".venv/bin/python -X dev 'my folder/runners/search.py'": (
        ".venv/bin/python -X dev 'my folder/runners/retrain.py'"
    ),
    "python -m nas search": "python -m nas retrain",
}


def call(monkeypatch: pytest.MonkeyPatch, line: str, *, script: int) -> None:
    """Let this process be called by `line`, whose word number `script` is what Python runs."""
    words = shlex.split(line)
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", words[script:])


@pytest.mark.parametrize("form", FORMS)
def test_another_command_has_the_same_form(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    script = shlex.split(form).index("nas") if "-m nas" in form else len(shlex.split(form)) - 1
    line = f"{form} --study 'a b'"
    call(monkeypatch, line, script=script)
    assert same_command_line() == line
    assert command_line("retrain", "a b/front.json") == f"{FORMS[form]} 'a b/front.json'"
    assert localise("Text.\n\n  nas retrain X\n") == f"Text.\n\n  {FORMS[form]} X\n"


def test_a_console_script_is_named_by_its_path_unless_the_shell_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "nas"
    script.touch(0o755)
    call(monkeypatch, f"/usr/bin/python3 {script} search --budget 3", script=1)
    monkeypatch.setenv("PATH", "/nowhere")
    assert same_command_line() == f"{script} search --budget 3"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert same_command_line() == "nas search --budget 3"


def test_one_program_has_every_command(run_runner: Callable[..., Any]) -> None:
    from typer.main import get_command

    from nas.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    runners = {path.stem for path in (Path(__file__).parents[2] / "runners").glob("*.py")}
    assert set(commands) == runners - {"benchmark"}
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        told = run_runner(name, "--help").out
        assert all(option in told for option in options if option.startswith("--")), name
