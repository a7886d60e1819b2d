"""The console script `nas`: every command under one name."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import predict, report, retrain, search, status
from nas.cli.options import OPTIONS, help_option, run_app, version_option

HELP = """Search for small ConvNets with the best accuracy at each cost, and use them.

The networks are DyClotNets. Their bottleneck blocks expand channels with a
dynamic clone transformer (DCT): each channel is cloned, and each clone is
shifted by a coefficient that depends on the image.

\b
  nas search --budget 200
  nas report results/STUDY
  nas retrain results/STUDY/front.json --select knee
  nas predict results/STUDY/retrained/ARCH_ID image.png
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
for _module in (search, report, retrain, predict, status):
    app.registered_commands += _module.app.registered_commands


@app.callback(add_help_option=False)
def _nas(
    version: Annotated[bool, version_option(OPTIONS)] = False,
    help_: Annotated[bool, help_option(OPTIONS)] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run the command line."""
    run_app(app)
