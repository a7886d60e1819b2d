"""Train chosen architectures of a front in full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import print_json, run_app, version_option

HELP = """Train chosen architectures of a front in full, and read the test set once.

Run the same command again to continue after an interruption.

\b
  python runners/retrain.py results/STUDY/front.json --select knee
  python runners/retrain.py results/STUDY/front.json --select under:20M --seeds 3
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _option(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


@app.command(help=HELP, no_args_is_help=True)
def retrain(
    front: Annotated[Path, typer.Argument(help="The front.json of a study.")],
    select: Annotated[
        str, _option("knee, all, top:K, under:20M, best-per-octave or an arch_id.")
    ] = "knee",
    recipe: Annotated[str, _option("The training schedule.")] = "full",
    epochs: Annotated[int | None, _option("The recipe's, overridden.")] = None,
    batch_size: Annotated[int | None, _option("The recipe's, overridden.")] = None,
    learning_rate: Annotated[float | None, _option("The recipe's, overridden.")] = None,
    seeds: Annotated[int, _option("Train each one this often, with seeds 0, 1, ...")] = 1,
    reference: Annotated[
        str | None, _option("Networks to train beside them, by commas, such as mobilenetv2.")
    ] = None,
    threads: Annotated[int | None, _option("CPU threads. Default: all")] = None,
    data_dir: Annotated[Path, _option("Where data sets are kept.")] = Path("data"),
    json: Annotated[bool, _option("Print the result as JSON.", "--json")] = False,
    quiet: Annotated[bool, _option("Show no progress.", "--quiet", "-q")] = False,
    debug: Annotated[bool, _option("Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option("Options")] = False,
) -> int:
    """Retrain; the help text is `HELP`."""
    from nas.report.retraining import Wanted, retrain_front, show_metrics
    from nas.training import get_recipe

    fields = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    wanted = Wanted(
        front=front,
        select=select,
        recipe=get_recipe(recipe, **{k: v for k, v in fields.items() if v is not None}),
        seeds=seeds,
        references=tuple(reference.split(",")) if reference else (),
        threads=threads,
        data_dir=data_dir,
    )
    metrics = retrain_front(wanted, quiet=quiet)
    if json:
        print_json(metrics)
    else:
        show_metrics(metrics)
    return 0


if __name__ == "__main__":
    run_app(app)
