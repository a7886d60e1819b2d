"""Show the state of studies, and repair them after a crash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import (
    EXIT_FAILED,
    OPTIONS,
    help_option,
    option,
    print_json,
    version_option,
)
from nas.cli.program import announce
from nas.format import one_line

HELP = """Show what studies hold and who works on them, and repair them after a crash.

\b
  nas status
  nas status results/dyclotnet-auto --repair
  nas status --storage postgresql+psycopg://nas@HOST/nas --json
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=HELP, add_help_option=False)
def status(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of a study, or of all studies. Default: results",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = Path("results"),
    storage: Annotated[
        str | None,
        option(
            OPTIONS,
            "URL",
            "Study database. Default: study.db in the folders",
            envvar="NAS_STORAGE",
        ),
    ] = None,
    study: Annotated[
        str | None, option(OPTIONS, "NAME", "Name of a single study. Default: all")
    ] = None,
    repair: Annotated[
        bool,
        option(
            OPTIONS,
            " ",
            "Queue the trials of a crashed search again; rewrite its files.",
            "--repair",
        ),
    ] = False,
    json: Annotated[bool, option(OPTIONS, " ", "Print the result as JSON.", "--json")] = False,
    debug: Annotated[bool, option(OPTIONS, " ", "Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option(OPTIONS)] = False,
    help_: Annotated[bool, help_option(OPTIONS)] = False,
) -> int:
    """Show the status; the help text is `HELP`."""
    if not json:
        announce("reading the studies")
    from nas.cli.status_view import show_status, status_json
    from nas.study.location import find_studies
    from nas.study.repair import repair as repair_study
    from nas.study.status import study_status
    from nas.study.storage.lock import StudyLocked

    locations = find_studies(folder, storage, study)
    repaired: dict[str, list[str]] = {}
    any_refused = False
    for location in locations if repair else ():
        try:
            repaired[location.name] = repair_study(location)
        except (StudyLocked, ValueError) as error:
            any_refused = True
            print(f"error: {one_line(str(error))}", file=sys.stderr)
    statuses = [study_status(location) for location in locations]
    if json:
        print_json(
            [status_json(each) | {"repaired": repaired.get(each.study, [])} for each in statuses]
        )
    else:
        for name, done in repaired.items():
            for line in done:
                print(f"{name}: {line}")
        show_status(statuses)
    return EXIT_FAILED if any_refused or any(each.problem for each in statuses) else 0
