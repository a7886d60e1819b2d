"""Parts of every command: one-line errors, exit codes, common options."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import warnings
from difflib import get_close_matches
from functools import partial
from types import FrameType
from typing import Any

import typer
from typer.exceptions import Abort

from nas.cli.program import launcher, localise
from nas.format import one_line
from nas.version import __version__

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

OPTIONS = "Options"
"""The panel of a command whose help has only one."""

SYNONYMS = {
    "trials": "--budget",
    "n-trials": "--budget",
    "num-samples": "--budget",
    "flops": "--max-macs",
    "max-flops": "--max-macs",
    "macs": "--max-macs",
    "data": "--dataset",
    "name": "--study",
    "study-name": "--study",
    "database": "--storage",
    "db": "--storage",
    "jobs": "--concurrency",
    "n-jobs": "--concurrency",
    "workers": "--concurrency",
    "lr": "--learning-rate",
    "output": "--results",
    "gpus": "--gpus-per-trial",
    "cpus": "--cpus-per-trial",
}
"""Names that other programs have for our options, without leading dashes."""


def run_app(app: typer.Typer) -> None:
    """Run a command line and exit.

    Exit codes: 0 done; 1 failed; 2 bad arguments or input; 130 and 143 after SIGINT and
    SIGTERM. An error is one line on standard error that starts with `error:`; only `--debug`
    shows a traceback.
    """
    debug = "--debug" in sys.argv
    _use_utf8()
    _hide_password_argument()
    signal.signal(signal.SIGTERM, _terminate)
    interrupts: list[int] = []
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, partial(_interrupt, interrupts))
    # FutureWarning addresses authors of libraries, not users of this program.
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        command = typer.main.get_command(app)
        for each in (command, *getattr(command, "commands", {}).values()):
            each.help = localise(each.help or "")
        code = command(standalone_mode=False, prog_name=shlex.join(launcher()))
    except (Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        if debug:
            raise
        # Ctrl-C during an import may surface as another exception, such as ImportError.
        code = 130 if interrupts else _explain(error)
    sys.stdout.flush()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # the work is done; ignored while the interpreter exits
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(code if isinstance(code, int) else 0)


def _use_utf8() -> None:
    """Restart the program in UTF-8 mode where the locale has no UTF-8, as file names do."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _hide_password_argument() -> None:
    """Restart the program without a database password in its arguments.

    Every user of the machine can read a command line, and Ray keeps a copy of it. The password
    moves to PGPASSWORD, which PostgreSQL's client reads.
    """
    words = list(sys.orig_argv)
    for index, word in enumerate(words):
        match = re.fullmatch(r"(--[\w-]+=)?(postgres\w*(?:\+\w+)?://.*)", word)
        split = _split_password(match[2]) if match else None
        if match is not None and split is not None:
            words[index] = (match[1] or "") + split[0]
            os.environ["PGPASSWORD"] = split[1]
    if words != sys.orig_argv:
        os.execv(sys.executable, [sys.executable, *words[1:]])


def _split_password(text: str) -> tuple[str, str] | None:
    """A database URL without its password, and the password; None if it has none."""
    from sqlalchemy.engine import make_url  # takes longer to import than most commands run
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return None
    password = url.password or url.query.get("password")
    if not isinstance(password, str) or "@" in f"{url.host}{url.database}":
        return None  # an @ within the password, which is refused where the URL is read
    url = url._replace(password=None).difference_update_query(["password"])
    return url.render_as_string(hide_password=False), password


def _interrupt(interrupts: list[int], number: int, frame: FrameType | None) -> None:
    interrupts.append(number)
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def option(panel: str, metavar: str, text: str, *names: str, **more: Any) -> Any:
    """An option in a panel of the help; its text says the default."""
    return typer.Option(
        *names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False, **more
    )


def version_option(panel: str) -> Any:
    """The option `--version`."""

    def show(asked: bool) -> None:
        if asked:
            print(f"nas {__version__}")
            raise typer.Exit

    return typer.Option(
        "--version",
        metavar=" ",
        help="Show the version.",
        rich_help_panel=panel,
        callback=show,
        is_eager=True,
    )


def help_option(panel: str) -> Any:
    """The option `--help` in a panel with other options.

    The command must have `add_help_option=False`.
    """

    def show(context: typer.Context, asked: bool) -> None:
        if asked:
            typer.echo(context.get_help())
            raise typer.Exit

    return typer.Option(
        "--help",
        metavar=" ",
        help="Show all options.",
        rich_help_panel=panel,
        callback=show,
        is_eager=True,
    )


def _explain(error: Exception) -> int:
    """Print the error in one line and return the exit code."""
    usage = getattr(error, "format_message", None)
    if usage is not None:  # typer's own errors: unknown options, missing arguments
        message = _unknown_option(error) or _not_a_number(error) or str(usage())
        code = EXIT_BAD_INPUT
    elif isinstance(error, ValueError):
        message, code = str(error), EXIT_BAD_INPUT
    elif type(error).__module__.startswith("nas."):
        message, code = str(error), EXIT_FAILED
    else:
        first_line = (str(error).strip().splitlines() or [""])[0]
        message, code = f"{type(error).__name__}: {first_line}", EXIT_FAILED
    if message:  # a command without arguments has printed its help
        print(f"error: {one_line(message)}", file=sys.stderr)
    return code


def _unknown_option(error: Exception) -> str | None:
    """The message for an unknown option, with the closest one; None for another error."""
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if option is None or context is None or not hasattr(error, "possibilities"):
        return None
    known = [name for parameter in context.command.params for name in parameter.opts]
    meant = SYNONYMS.get(option.lstrip("-").replace("_", "-"))
    if meant not in known:
        meant = next(iter(get_close_matches(option, known, n=1, cutoff=0.5)), None)
    hint = f"did you mean {meant}?" if meant else "--help lists the options"
    return f"{option}: no such option; {hint}"


def _not_a_number(error: Exception) -> str | None:
    """The message for text where a number is expected; None for another error."""
    names = getattr(getattr(error, "param", None), "opts", None)
    refused = getattr(error.__cause__, "errors", None)  # typer has Pydantic read values
    if not names or refused is None:
        return None
    why = refused()[0]
    accepted = {"int_parsing": "a whole number", "float_parsing": "a number"}.get(why["type"])
    return accepted and f"{names[0]}: {why['input']!r}; accepted: {accepted}"


def print_json(data: Any) -> None:
    """Print data as JSON on standard output."""
    print(json.dumps(data, indent=2, allow_nan=False))
