"""Search for the accuracy/FLOPs front of a space of ConvNets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import parse_duration, parse_quantity, run_app, version_option

HELP = """Search for the ConvNets with the best accuracy at each cost.

Run the same command again to continue: the budget counts over the study's life.

    python runners/search.py --budget 200

    python runners/search.py --budget 500 --dataset cifar10 --max-macs 20M

    python runners/search.py --budget 20 --space search_spaces/tiny.yaml --dry-run
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _option(panel: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


WHAT, LIMITS, HOW, WHERE, OUTPUT = "What", "Limits", "How", "Where", "Output"


@app.command(help=HELP, no_args_is_help=True)
def search(
    budget: Annotated[int, _option(WHAT, "Distinct architectures to train, in all.")],
    space: Annotated[Path, _option(WHAT, "The search space, a YAML file.")] = Path(
        "search_spaces/dyclotnet.yaml"
    ),
    dataset: Annotated[
        str, _option(WHAT, "auto, cifar10, cifar100, fashion-mnist, digits, folder:PATH.")
    ] = "auto",
    image_size: Annotated[int | None, _option(WHAT, "Resize images to this side.")] = None,
    objectives: Annotated[
        str | None,
        _option(
            WHAT,
            "accuracy with macs, params or latency; macs are FLOPs (multiply-adds). "
            "Default: accuracy,macs",
        ),
    ] = None,
    study: Annotated[str | None, _option(WHAT, "Name of the study. Default: SPACE-DATASET")] = None,
    max_macs: Annotated[
        str | None, _option(LIMITS, "Most FLOPs (multiply-adds), such as 20M.")
    ] = None,
    max_params: Annotated[str | None, _option(LIMITS, "Most parameters, such as 1M.")] = None,
    timeout: Annotated[str | None, _option(LIMITS, "End after this long, such as 2h.")] = None,
    max_failures: Annotated[int, _option(LIMITS, "End after more failed trials than this.")] = 10,
    sampler: Annotated[str | None, _option(HOW, "tpe, nsga2, gp or random. Default: tpe")] = None,
    recipe: Annotated[
        str | None, _option(HOW, "Schedule of a trial. Default: made for data and device")
    ] = None,
    epochs: Annotated[int | None, _option(HOW, "The recipe's, overridden.")] = None,
    batch_size: Annotated[int | None, _option(HOW, "The recipe's, overridden.")] = None,
    learning_rate: Annotated[float | None, _option(HOW, "The recipe's, overridden.")] = None,
    train_images: Annotated[int | None, _option(HOW, "The recipe's, overridden.")] = None,
    seed: Annotated[int, _option(HOW, "Of the sampler and of every trial.")] = 0,
    concurrency: Annotated[
        int | None, _option(WHERE, "Trials at once. Default: as many as fit")
    ] = None,
    cpus_per_trial: Annotated[float, _option(WHERE, "CPUs, and threads, of a trial.")] = 1.0,
    gpus_per_trial: Annotated[
        float | None, _option(WHERE, "GPUs of a trial. Default: 0.25 where there is one")
    ] = None,
    ray_address: Annotated[
        str | None, _option(WHERE, "A running Ray, such as auto or HOST:6379.")
    ] = None,
    data_dir: Annotated[Path, _option(WHERE, "Where data sets are kept.")] = Path("data"),
    storage: Annotated[
        str | None,
        _option(WHERE, "Study database. Default: SQLite in its folder", envvar="NAS_STORAGE"),
    ] = None,
    results: Annotated[Path, _option(WHERE, "Folder of all studies.")] = Path("results"),
    dry_run: Annotated[
        bool, _option(OUTPUT, "Print the plan, write nothing.", "--dry-run")
    ] = False,
    json: Annotated[bool, _option(OUTPUT, "Print the result as JSON.", "--json")] = False,
    verbose: Annotated[bool, _option(OUTPUT, "Show each trial.", "--verbose", "-v")] = False,
    quiet: Annotated[bool, _option(OUTPUT, "Show no progress.", "--quiet", "-q")] = False,
    debug: Annotated[bool, _option(OUTPUT, "Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option(OUTPUT)] = False,
) -> int:
    """Run a search; the help text is `HELP`."""
    from nas.search.choose_sampler import SAMPLERS
    from nas.search.plan import Request, make_plan

    fields = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "train_images": train_images,
    }
    plan = make_plan(
        Request(
            budget=budget,
            space=space,
            dataset=dataset,
            data_dir=data_dir,
            image_size=image_size,
            study=study,
            storage=storage,
            results=results,
            objectives=objectives,
            sampler=sampler or SAMPLERS[0],
            recipe=recipe,
            overrides={name: value for name, value in fields.items() if value is not None},
            max_macs=parse_quantity("--max-macs", max_macs),
            max_params=parse_quantity("--max-params", max_params),
            timeout=parse_duration("--timeout", timeout),
            max_failures=max_failures,
            concurrency=concurrency,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            ray_address=ray_address,
            seed=seed,
        )
    )
    from nas.report.terminal import show_plan, show_search

    if dry_run:
        show_plan(plan, as_json=json)
        return 0
    return show_search(plan, as_json=json, verbose=verbose, quiet=quiet)


if __name__ == "__main__":
    run_app(app)
