"""Write a study's report, and its notes and figures for the Optuna dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import OPTIONS, help_option, option, print_json, version_option
from nas.cli.program import announce

HELP = """Write the report of a study (report.html), and notes and plots for Optuna's dashboard.

\b
  nas report results/dyclotnet-auto
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=HELP, no_args_is_help=True, add_help_option=False)
def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the study, such as results/STUDY.", metavar="FOLDER")
    ],
    storage: Annotated[
        str | None,
        option(
            OPTIONS,
            "URL",
            "Study database of a folder without study.db",
            envvar="NAS_STORAGE",
        ),
    ] = None,
    study: Annotated[
        str | None, option(OPTIONS, "NAME", "Name of the study. Default: the folder's")
    ] = None,
    json: Annotated[bool, option(OPTIONS, " ", "Print the result as JSON.", "--json")] = False,
    debug: Annotated[bool, option(OPTIONS, " ", "Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option(OPTIONS)] = False,
    help_: Annotated[bool, help_option(OPTIONS)] = False,
) -> int:
    """Write the report; the help text is `HELP`."""
    if not json:
        announce("reading the study")
    from nas.report.study_folder import report_study
    from nas.study.location import folder_location

    path, annotated = report_study(folder_location(folder, storage, study), folder)
    if json:
        print_json({"report": str(path), "annotated": annotated})
    else:
        print(f"written: {path}")
        if not annotated:
            print("a search is running: the dashboard's notes are written when it ends")
    return 0
