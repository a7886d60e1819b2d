"""Show the state of studies, and repair them after a crash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import EXIT_FAILED, plain_option, print_json, version_option
from nas.cli.program import announce
from nas.format import one_line

HELP = """Show trials, front and lock of studies, and repair them after a crash.

\b
  nas status
  nas status results/dyclotnet-auto --repair
  nas status --storage postgresql+psycopg://nas@HOST/nas --json
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=HELP)
def status(
    folder: Annotated[Path, typer.Argument(help="Folder of a study, or of all studies.")] = Path(
        "results"
    ),
    storage: Annotated[
        str | None,
        plain_option("Study database. Default: study.db in the folders", envvar="NAS_STORAGE"),
    ] = None,
    study: Annotated[str | None, plain_option("Name of a single study.")] = None,
    repair: Annotated[
        bool,
        plain_option("Queue trials of a dead search again; rewrite the study's files.", "--repair"),
    ] = False,
    json: Annotated[bool, plain_option("Print the result as JSON.", "--json")] = False,
    debug: Annotated[bool, plain_option("Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option("Options")] = False,
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
