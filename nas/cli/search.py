"""Search for the accuracy/FLOPs front of a space of ConvNets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import EXIT_FAILED, help_option, option, print_json, version_option
from nas.cli.program import announce
from nas.format import parse_bytes, parse_duration, parse_latency, parse_quantity
from nas.space.named import DEFAULT_SPACE

if TYPE_CHECKING:
    from nas.study.plan import Plan

HELP = """Search for the ConvNets with the best accuracy at each cost.

\b
  nas search --budget 200
  nas search --budget 500 --dataset cifar10 --max-macs 20M
  nas search --budget 9 --dataset digits --dry-run

To continue, repeat the command; the budget is that of the whole study.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


START, WHAT, LIMITS, HOW, WHERE, OUTPUT = (
    "To start with", "What is searched", "Limits", "How", "Where it runs", "Output",
)  # fmt: skip


@app.command(
    help=HELP,
    no_args_is_help=True,
    add_help_option=False,
    options_metavar="--budget N [OPTIONS]",
)
def search(
    budget: Annotated[int, option(START, "N", "Distinct architectures to train.")],
    dataset: Annotated[
        str,
        option(START, "NAME", "auto, digits, fashion-mnist, cifar10, cifar100, folder:PATH"),
    ] = "auto",
    space: Annotated[
        Path, option(START, "SPACE", "dyclotnet (default), tiny, or a YAML file")
    ] = DEFAULT_SPACE,
    max_macs: Annotated[
        str | None, option(START, "N", "Maximum FLOPs (multiply-adds), such as 20M.")
    ] = None,
    timeout: Annotated[
        str | None,
        option(START, "TIME", "End after this time, such as 2h."),
    ] = None,
    study: Annotated[
        str | None, option(START, "NAME", "Folder in --results. Default: SPACE-DATASET")
    ] = None,
    dry_run: Annotated[
        bool,
        option(START, " ", "Print plan and time; write and download nothing.", "--dry-run"),
    ] = False,
    help_: Annotated[bool, help_option(START)] = False,
    objectives: Annotated[
        str | None,
        option(
            WHAT,
            "LIST",
            "accuracy with macs, params, memory, flash or latency; macs are FLOPs "
            "(multiply-adds). Default: accuracy,macs",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        option(
            WHAT,
            "NAME",
            "accuracy (default), or balanced-accuracy: the mean over classes, whatever their size.",
        ),
    ] = None,
    quantized: Annotated[
        bool,
        option(WHAT, " ", "Measure accuracy with the network in int8.", "--quantized"),
    ] = False,
    image_size: Annotated[
        int | None,
        option(
            WHAT,
            "N",
            "Side in pixels to resize images to and to train at. Default: 32 for a folder",
        ),
    ] = None,
    channels: Annotated[
        str,
        option(
            WHAT, "N", "1 (grey), 3 (RGB) or auto (default): 1 if all images of a folder are grey."
        ),
    ] = "auto",
    background: Annotated[
        str | None, option(WHAT, "COLOR", "Colour behind transparent pixels. Default: white")
    ] = None,
    max_params: Annotated[
        str | None, option(LIMITS, "N", "Maximum parameters, such as 1M.")
    ] = None,
    max_memory: Annotated[
        str | None,
        option(LIMITS, "BYTES", "Maximum memory of the activations in int8, such as 256k."),
    ] = None,
    max_flash: Annotated[
        str | None, option(LIMITS, "BYTES", "Maximum size of the weights in int8, such as 1M.")
    ] = None,
    device: Annotated[
        str | None,
        option(
            LIMITS,
            "NAME",
            "Limit memory and flash to those of a device, such as stm32f746 or esp32-s3.",
        ),
    ] = None,
    max_latency: Annotated[
        str | None,
        option(
            LIMITS,
            "TIME",
            "Maximum latency of one image on this machine, such as 5ms; measured before training.",
        ),
    ] = None,
    latency_backend: Annotated[
        str | None,
        option(
            LIMITS,
            "NAME",
            "Measure latency with pytorch (default), onnxruntime or onnxruntime-int8.",
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        option(
            LIMITS,
            "TIME",
            "Restart the worker of a trial that takes longer, such as 1h. Default: none",
        ),
    ] = None,
    max_failures: Annotated[
        str,
        option(
            LIMITS,
            "N",
            "End the search after more failed trials than this, or than a share of the budget such "
            "as 20%. Default: 10",
        ),
    ] = "10",
    from_study: Annotated[
        list[str] | None,
        option(
            HOW,
            "STUDY",
            "An earlier study that informs the sampler: its name, folder, or database URL. "
            "Repeatable",
        ),
    ] = None,
    no_source_front: Annotated[
        bool,
        option(HOW, " ", "Do not train the front of --from-study first.", "--no-source-front"),
    ] = False,
    try_: Annotated[
        list[Path] | None,
        option(
            HOW,
            "FILE",
            "Train the architectures of a front.json, or of a JSON list, first. Repeatable",
            "--try",
        ),
    ] = None,
    sampler: Annotated[
        str | None, option(HOW, "NAME", "known-cost (default), tpe, nsga2, gp, random")
    ] = None,
    recipe: Annotated[
        str | None,
        option(
            HOW,
            "NAME",
            "short-cpu, short-cpu-subset, short-gpu or full. Default: by data set and device",
        ),
    ] = None,
    epochs: Annotated[
        int | None, option(HOW, "N", "Epochs of a trial. Default: the recipe's")
    ] = None,
    batch_size: Annotated[
        int | None, option(HOW, "N", "Images in a batch. Default: the recipe's")
    ] = None,
    learning_rate: Annotated[
        float | None, option(HOW, "X", "Peak learning rate. Default: the recipe's")
    ] = None,
    train_images: Annotated[
        int | None, option(HOW, "N", "Train on at most this many images. Default: the recipe's")
    ] = None,
    seed: Annotated[int, option(HOW, "N", "Seed of the sampler and the trials. Default: 0")] = 0,
    concurrency: Annotated[
        int | None, option(WHERE, "N", "Trials at the same time. Default: as many as fit")
    ] = None,
    cpus_per_trial: Annotated[
        float, option(WHERE, "X", "CPUs and threads of a trial. Default: 1")
    ] = 1.0,
    gpus_per_trial: Annotated[
        float | None,
        option(WHERE, "X", "GPUs of a trial, such as 0.25. Default: a share of one, if any"),
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
            "Study database. Default: SQLite in the study's folder",
            envvar="NAS_STORAGE",
        ),
    ] = None,
    results: Annotated[
        Path, option(WHERE, "DIR", "Folder of all studies. Default: results")
    ] = Path("results"),
    json: Annotated[bool, option(OUTPUT, " ", "Print the result as JSON.", "--json")] = False,
    verbose: Annotated[bool, option(OUTPUT, " ", "Show each trial.", "--verbose", "-v")] = False,
    quiet: Annotated[bool, option(OUTPUT, " ", "Show no progress.", "--quiet", "-q")] = False,
    debug: Annotated[bool, option(OUTPUT, " ", "Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option(OUTPUT)] = False,
) -> int:
    """Run a search; the help text is `HELP`."""
    if not quiet:
        announce("reading the plan")
    from nas.cli.option_values import parse_channels, parse_failures
    from nas.cli.wait_view import find_workers, parse_wait
    from nas.study.choose_sampler import SAMPLERS
    from nas.study.plan import make_plan
    from nas.study.request import Request, check_request

    fields = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "train_images": train_images,
        "metric": metric,
    }
    wait = parse_wait(wait_for_workers, ray_address)
    request = Request(
        budget=budget,
        space=space,
        dataset=dataset,
        data_dir=data_dir,
        image_size=image_size,
        channels=parse_channels(channels),
        background=background,
        study=study,
        storage=storage,
        results=results,
        objectives=objectives,
        sampler=sampler or SAMPLERS[0],
        recipe=recipe,
        overrides={name: value for name, value in fields.items() if value is not None},
        max_macs=parse_quantity("--max-macs", max_macs),
        max_params=parse_quantity("--max-params", max_params),
        max_memory=parse_bytes("--max-memory", max_memory),
        max_flash=parse_bytes("--max-flash", max_flash),
        device=device,
        max_latency=parse_latency("--max-latency", max_latency),
        latency_backend=latency_backend,
        quantized=quantized,
        timeout=parse_duration("--timeout", timeout),
        trial_timeout=parse_duration("--trial-timeout", trial_timeout),
        max_failures=parse_failures(max_failures, budget),
        concurrency=concurrency,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        ray_address=ray_address,
        seed=seed,
        from_study=tuple(from_study or ()),
        source_front=not no_source_front,
        try_files=tuple(try_ or ()),
    )
    check_request(request)  # before workers are waited for
    resources = find_workers(
        ray_address, (concurrency or 1, cpus_per_trial, gpus_per_trial or 0.0), wait, quiet
    )
    plan = make_plan(request, resources, download=not dry_run)
    if dry_run:
        _show_plan(plan, as_json=json, quiet=quiet)
        return 0
    return _run(plan, as_json=json, verbose=verbose, quiet=quiet)


def _show_plan(plan: Plan, *, as_json: bool, quiet: bool) -> None:
    """Print what the search would do, and how long it would take where this machine tells."""
    from nas.cli.search_view import show_plan
    from nas.progress import shown, silent
    from nas.study.search_time import can_estimate, estimate_seconds

    seconds = None
    if can_estimate(plan):
        if not quiet:
            announce("timing a few networks")
        seconds = estimate_seconds(plan, silent if quiet else shown("timing networks"))
    show_plan(plan, seconds, as_json=as_json)


def _run(plan: Plan, *, as_json: bool, verbose: bool, quiet: bool) -> int:
    """Run the search with its progress on standard error and its result on standard output.

    Returns:
        The exit code.
    """
    import logging

    from rich.console import Console
    from rich.logging import RichHandler

    from nas.cli.search_progress import SearchProgress
    from nas.cli.search_view import print_plan, print_result, result_json
    from nas.tune.search import search as run_search

    errors = Console(stderr=True, markup=False)  # data and paths may hold brackets
    if verbose:
        handler = RichHandler(
            console=errors, show_level=False, show_path=False, log_time_format="%H:%M:%S"
        )
        logging.getLogger("nas").addHandler(handler)
    if not quiet:
        print_plan(errors, plan)
    result = run_search(
        plan, lambda study, received: SearchProgress(errors, study, received, quiet)
    )
    if as_json:
        print_json(result_json(plan, result))
    else:
        print_result(plan, result)
    if result.ended is None:
        return 0
    if result.ended.signal_number is not None:
        return 128 + result.ended.signal_number
    return EXIT_FAILED if result.ended.failed else 0
