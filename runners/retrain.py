"""Train chosen architectures of a front in full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import EXIT_FAILED, print_json, run_app, version_option

HELP = """Train chosen architectures of a front in full, and read the test set once.

Run the same command again to continue after an interruption.

\b
  python runners/retrain.py results/STUDY/front.json --select knee
  python runners/retrain.py results/STUDY/front.json --select under:20M --seeds 3
  python runners/retrain.py results/STUDY/front.json --select best-per-octave --seeds 2 \\
    --reference equal-cost-twin,mobilenetv2-scaled --learning-rate 0.1,0.2,0.4 --export onnx
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _option(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


@app.command(help=HELP, no_args_is_help=True)
def retrain(
    front: Annotated[Path, typer.Argument(help="The front.json of a study.")],
    select: Annotated[
        str, _option("knee, all, top:K, spread:K, under:20M, best-per-octave or an arch_id.")
    ] = "knee",
    recipe: Annotated[str, _option("The training schedule.")] = "full",
    epochs: Annotated[int | None, _option("The recipe's, overridden.")] = None,
    batch_size: Annotated[int | None, _option("The recipe's, overridden.")] = None,
    learning_rate: Annotated[
        str | None,
        _option(
            "The recipe's, overridden; of several by commas each family of networks takes the "
            "best on the validation split."
        ),
    ] = None,
    cutout: Annotated[
        float | None, _option("Mask a square of this share of the image's side, such as 0.5.")
    ] = None,
    mixup: Annotated[
        float | None,
        _option("Mix images of a batch, shares from Beta(MIXUP, MIXUP); 0.2 is usual."),
    ] = None,
    seeds: Annotated[int, _option("Train each one this often, with seeds 0, 1, ...")] = 1,
    reference: Annotated[
        str | None,
        _option(
            "Networks to train beside them, by commas: mobilenetv2, mobilenetv2-WIDTH, "
            "mobilenetv2-scaled, twin, equal-cost-twin, table2."
        ),
    ] = None,
    export: Annotated[
        str | None, _option("Write each network as onnx, torch (torch.export), or onnx,torch.")
    ] = None,
    concurrency: Annotated[
        int | None, _option("Trainings at a time. Default: one on each GPU, or on each core.")
    ] = None,
    threads: Annotated[
        int | None, _option("CPU threads of each. Default: its share of the cores.")
    ] = None,
    data_dir: Annotated[Path, _option("Where data sets are kept.")] = Path("data"),
    json: Annotated[bool, _option("Print the result as JSON.", "--json")] = False,
    quiet: Annotated[bool, _option("Show no progress.", "--quiet", "-q")] = False,
    debug: Annotated[bool, _option("Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option("Options")] = False,
) -> int:
    """Retrain; the help text is `HELP`."""
    from nas.report.retraining import show_retrained
    from nas.training import get_recipe
    from nas.tune.retraining import Wanted, retrain_front

    fields = {"epochs": epochs, "batch_size": batch_size, "cutout": cutout, "mixup": mixup}
    fields = {name: value for name, value in fields.items() if value is not None}
    rates = _parse_rates(learning_rate)
    recipes = [get_recipe(recipe, **fields, learning_rate=rate) for rate in rates]
    chosen = recipes[0] if recipes else get_recipe(recipe, **fields)
    wanted = Wanted(
        front=front,
        select=select,
        recipe=chosen,
        learning_rates=tuple(rates) or (chosen.learning_rate,),
        seeds=seeds,
        references=_split(reference),
        export=_split(export),
        concurrency=concurrency,
        threads=threads,
        data_dir=data_dir,
    )
    retrained = retrain_front(wanted, quiet=quiet)
    if json:
        print_json(
            {
                "metrics": retrained.metrics,
                "summary": retrained.summary,
                "failures": retrained.failures,
            }
        )
    else:
        show_retrained(retrained)
    return EXIT_FAILED if retrained.failures else 0


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(","))) if text else ()


def _parse_rates(text: str | None) -> list[float]:
    try:
        return [float(part) for part in _split(text)]
    except ValueError:
        raise ValueError(
            f"--learning-rate: {str(text)[:40]!r}; accepted: a number, or several by commas"
        ) from None


if __name__ == "__main__":
    run_app(app)
