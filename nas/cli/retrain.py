"""Train networks of a front in full."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import EXIT_FAILED, help_option, option, print_json, version_option
from nas.cli.program import announce, same_command_line

HELP = """Train networks of a front in full, and evaluate each once on the test set.

\b
  nas retrain results/STUDY/front.json --select knee
  nas retrain results/STUDY/front.json --select top:3 --seeds 2
  nas retrain results/STUDY/front.json --budget-hours 2 --dry-run
  nas retrain results/STUDY/front.json --select spread:4 \\
      --reference equal-cost-twin --learning-rate 0.1,0.2,0.4

To continue after an interruption, repeat the command.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

AUTO = "auto"  # a learning rate
WHAT, HOW, WHERE, OUTPUT = "What is trained", "How", "Where it runs", "Output"


@app.command(help=HELP, no_args_is_help=True, add_help_option=False, options_metavar="[OPTIONS]")
def retrain(
    front: Annotated[
        Path, typer.Argument(help="The front.json of a study.", metavar="FRONT", show_default=False)
    ],
    select: Annotated[
        str | None,
        option(
            WHAT,
            "WHICH",
            "knee, all, top:K, spread:K, under:20M, best-per-octave, an arch_id, or several of "
            "these, separated by commas. Default: knee, or top:1 on a front of fewer than 5 "
            "networks; with --budget-hours, all to choose from",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        option(
            WHAT,
            "LIST",
            "Networks to compare with: twin and equal-cost-twin (the dynamic clone transformer, "
            "DCT, replaced by 1x1 convolutions, or the reverse), table2 (the paper's), "
            "mobilenetv2, mobilenetv2-WIDTH or mobilenetv2-scaled (near the cost of the most "
            "expensive selected network).",
        ),
    ] = None,
    seeds: Annotated[
        int | None, option(WHAT, "K", "Train each network K times, with seeds 0 to K-1. Default: 1")
    ] = None,
    budget_hours: Annotated[
        float | None,
        option(
            WHAT,
            "H",
            "Choose networks, epochs and seeds that take about H hours on this machine; a minute "
            "of training tells their speed.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        option(
            WHAT,
            " ",
            "Print what would be trained and how long it takes; times a minute of training.",
            "--dry-run",
        ),
    ] = False,
    recipe: Annotated[
        str, option(HOW, "NAME", "full (default), short-cpu, short-cpu-subset or short-gpu")
    ] = "full",
    epochs: Annotated[
        int | None, option(HOW, "N", "Epochs of a training. Default: the recipe's")
    ] = None,
    batch_size: Annotated[
        int | None, option(HOW, "N", "Images in a batch. Default: the recipe's")
    ] = None,
    learning_rate: Annotated[
        str | None,
        option(
            HOW,
            "LIST",
            "Peak learning rate. Default: the recipe's. Of several, separated by commas, each "
            "family of networks takes the one that is best on the validation split; of three or "
            "more, rates beyond the list are tried if its least or greatest is best. auto: short "
            "runs choose, which takes at most a fifth of one training for each family.",
        ),
    ] = None,
    cutout: Annotated[
        float | None,
        option(HOW, "X", "Mask a random square of this share of the side, such as 0.5."),
    ] = None,
    mixup: Annotated[
        float | None, option(HOW, "X", "Mix images in proportions from Beta(X, X), such as 0.2.")
    ] = None,
    teacher: Annotated[
        bool,
        option(
            HOW,
            " ",
            "Train the most accurate network first; the others learn from its logits too.",
            "--teacher",
        ),
    ] = False,
    concurrency: Annotated[
        int | None,
        option(WHERE, "N", "Trainings at the same time. Default: one for each GPU, or core"),
    ] = None,
    threads: Annotated[
        int | None,
        option(WHERE, "N", "CPU threads of a training. Default: an equal share of the cores"),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        option(WHERE, "X", "GPUs of a training, such as 0.25. Default: one, or a share of one"),
    ] = None,
    ray_address: Annotated[
        str | None, option(WHERE, "ADDRESS", "A Ray cluster, such as auto or HOST:6379.")
    ] = None,
    wait_for_workers: Annotated[
        str | None,
        option(WHERE, "TIME", "How long to wait for workers to join. Default: 5m"),
    ] = None,
    data_dir: Annotated[Path, option(WHERE, "DIR", "Folder of data sets. Default: data")] = Path(
        "data"
    ),
    storage: Annotated[
        str | None,
        option(
            WHERE,
            "URL",
            "Study database whose notes are updated, where there is no study.db beside FRONT",
            envvar="NAS_STORAGE",
        ),
    ] = None,
    export: Annotated[
        str | None,
        option(
            OUTPUT,
            "LIST",
            "Export each as onnx, int8 (quantised ONNX), torch (torch.export), tflite (float and "
            "int8) or c-array (of the int8 file).",
        ),
    ] = None,
    fine_tune_int8: Annotated[
        bool,
        option(
            OUTPUT,
            " ",
            "Where int8 loses over a point of validation accuracy, continue training in int8 for a "
            "tenth of the epochs, and export the better of the two.",
            "--fine-tune-int8",
        ),
    ] = False,
    json: Annotated[bool, option(OUTPUT, " ", "Print the result as JSON.", "--json")] = False,
    quiet: Annotated[bool, option(OUTPUT, " ", "Show no progress.", "--quiet", "-q")] = False,
    debug: Annotated[bool, option(OUTPUT, " ", "Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option(OUTPUT)] = False,
    help_: Annotated[bool, help_option(OUTPUT)] = False,
) -> int:
    """Retrain; the help text is `HELP`."""
    if not quiet:
        announce("reading the front")
    from nas.cli.retrain_view import show_plan, show_retrained
    from nas.cli.wait_view import find_workers, parse_wait
    from nas.progress import training_bars
    from nas.training import get_recipe
    from nas.tune.retrain import retrain_front
    from nas.tune.retrain_plan import plan_retraining, with_plan
    from nas.tune.retrain_request import RetrainRequest

    fields = {"epochs": epochs, "batch_size": batch_size, "cutout": cutout, "mixup": mixup}
    fields = {name: value for name, value in fields.items() if value is not None}
    auto_rate = learning_rate == AUTO
    rates = [] if auto_rate else _parse_rates(learning_rate)
    recipes = [get_recipe(recipe, **fields, learning_rate=rate) for rate in rates]
    request = RetrainRequest(
        front=front,
        select=select if select or budget_hours is None else "all",
        recipe=recipes[0] if recipes else get_recipe(recipe, **fields),
        learning_rates=tuple(rates),
        seeds=1 if seeds is None else seeds,
        references=_split(reference),
        export=_split(export),
        concurrency=concurrency,
        threads=threads,
        data_dir=data_dir,
        ray_address=ray_address,
        gpus=gpus_per_trial,
        storage=storage,
        adapted=_adapted(recipe, {*fields, *(["learning_rate"] if rates else [])}),
        auto_rate=auto_rate,
        teacher=teacher,
        fine_tune_int8=fine_tune_int8,
    )
    wait = parse_wait(wait_for_workers, ray_address)
    needed = (concurrency or 1, 1.0, gpus_per_trial or 0.0)
    find = partial(find_workers, ray_address, needed, wait, quiet)
    if budget_hours is not None or dry_run:
        if not quiet:
            announce("timing a minute of training")
        plan = plan_retraining(
            request, budget_hours, find, epochs=epochs, seeds=seeds, keep=not dry_run
        )
        if dry_run and json:
            print_json(asdict(plan))
        elif dry_run or not quiet:
            show_plan(plan, sys.stdout if dry_run else sys.stderr)
        if dry_run:
            return 0
        request = with_plan(request, plan)
    try:
        retrained = retrain_front(
            request,
            find,
            partial(training_bars, quiet),
        )
    except (KeyboardInterrupt, SystemExit):
        print(f"interrupted; to continue: {same_command_line()}", file=sys.stderr)
        raise
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


def _adapted(recipe: str, given: set[str]) -> tuple[str, ...]:
    """The fields of a recipe that few training images may change: those the user did not give."""
    from nas.training.small_data import ADAPTED

    return tuple(name for name in ADAPTED if recipe == "full" and name not in given)


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(","))) if text else ()


def _parse_rates(text: str | None) -> list[float]:
    try:
        return list(dict.fromkeys(float(part) for part in _split(text)))
    except ValueError:
        raise ValueError(
            f"--learning-rate: {str(text)[:40]!r}; accepted: numbers, separated by commas, or auto"
        ) from None
