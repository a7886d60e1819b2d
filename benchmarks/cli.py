"""The command line of the measurements: each subcommand prints a table and can write it as JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

CACHE = Path(__file__).parents[1] / "results" / "benchmarks" / "replays"
SPACE = Path(__file__).parents[1] / "search_spaces" / "dyclotnet.yaml"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


def _option(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


@app.callback()
def benchmark() -> None:
    """Measure a part of the search."""


@app.command()
def sampler(
    table: Annotated[
        list[str] | None,
        _option("A table's CSV file, or generated:categorical|ordinal|mixed[:SEED]. Repeatable"),
    ] = None,
    synthetic: Annotated[
        int, _option("Add so many made-up accuracies on the full space, each searched once", min=0)
    ] = 0,
    evals: Annotated[int, _option("Evaluations of a run", min=1, max=10_000)] = 200,
    seeds: Annotated[int, _option("Runs of each sampler on each table", min=1, max=1000)] = 15,
    samplers: Annotated[
        str, _option("Comma-separated; NAME:K for K seeds at most; botorch on tables alone")
    ] = "known-cost,botorch:5,gp,tpe,nsga2,random",
    noise: Annotated[
        bool, _option("Samplers see one training seed's accuracy; the score is on the mean")
    ] = False,
    json: Annotated[Path | None, _option("Write the rows here, and a figure beside it")] = None,
    jobs: Annotated[
        int | None, _option("Processes. Default: one for each core", min=1, max=1024)
    ] = None,
    cache: Annotated[Path, _option("Where finished runs are kept")] = CACHE,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """Replay tables of training results with several samplers."""
    from benchmarks.sampler_report import run_and_report

    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    run_and_report(
        [*(table or []), *(f"synthetic:{seed}" for seed in range(synthetic))],
        samplers.split(","),
        seeds=seeds,
        evaluations=evals,
        noise=noise,
        json_path=json,
        workers=jobs or os.cpu_count() or 1,
        cache_folder=cache,
    )
    return 0


@app.command()
def operator(
    repetitions: Annotated[
        int, _option("Times that each version is run on each shape", min=1, max=1000)
    ] = 15,
    json: Annotated[Path | None, _option("Write the figures here")] = None,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """Time and memory of the fast operators against plain ones."""
    from benchmarks.operator_report import run_and_report

    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    run_and_report(repetitions, json)
    return 0


@app.command()
def stopping(
    curves: Annotated[
        Path | None, _option("A table of learning curves: columns macs, epoch_1, epoch_2, ...")
    ] = None,
    generated: Annotated[
        int, _option("Or so many made-up tables: short schedules, crossing curves, noise", min=0)
    ] = 0,
    orders: Annotated[int, _option("Random orders of the trials", min=1, max=1000)] = 20,
    rungs: Annotated[
        str | None, _option("Comma-separated epochs, for all rules. Default: as a search does")
    ] = None,
    json: Annotated[Path | None, _option("Write the rows here")] = None,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """Replay learning curves with several rules that stop trials early."""
    from benchmarks.stopping_table import parse_rungs, run_stopping

    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    run_stopping(curves, generated, orders=orders, evaluated=parse_rungs(rungs), json_file=json)
    return 0


@app.command()
def training(
    repetitions: Annotated[
        int, _option("Times that each network is trained, each with a seed", min=1, max=1000)
    ] = 3,
    data_dir: Annotated[Path, _option("Where data sets are kept")] = Path("data"),
    gpu: Annotated[bool, _option("Train on this machine's GPU", "--gpu")] = False,
    json: Annotated[Path | None, _option("Keep the runs here; a file begun is continued")] = None,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """Images a second of the trainer against the loop that a user would write."""
    import torch

    from benchmarks.training_report import run_and_report

    if gpu and not torch.cuda.is_available():
        raise ValueError("--gpu: PyTorch finds no GPU here; accepted: without it, on the CPU")
    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    run_and_report(repetitions, data_dir, torch.device("cuda" if gpu else "cpu"), json)
    return 0


@app.command()
def overhead(
    space: Annotated[Path, _option("The space that is searched, YAML")] = SPACE,
    json: Annotated[Path | None, _option("Write the figures here")] = None,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """Seconds around trials, slots that are busy, a study of 10,000 trials."""
    from benchmarks.overhead import run_and_report

    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    run_and_report(space, json)
    return 0


@app.command()
def latency(
    networks: Annotated[
        int, _option("So many, half DCT, half their pointwise twins", min=6, max=1000)
    ] = 20,
    batch: Annotated[int, _option("Images per pass", min=1, max=4096)] = 1,
    compiled: Annotated[bool, _option("Measure what torch.compile makes", "--compiled")] = False,
    space: Annotated[Path, _option("Where networks are drawn from")] = SPACE,
    against: Annotated[
        Path | None, _option("A --json of an earlier run: how well the two agree")
    ] = None,
    json: Annotated[Path | None, _option("Write the figures here")] = None,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """How well FLOPs predict latency, DCT and pointwise apart."""
    from benchmarks.latency import run_and_report

    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    run_and_report(space, networks, batch, compiled, against, json)
    return 0


@app.command()
def schedule(
    datasets: Annotated[str, _option("Comma-separated")] = "digits,fashion-mnist",
    architectures: Annotated[int, _option("On each data set", min=5, max=1000)] = 24,
    space: Annotated[Path, _option("The space that they are of, YAML")] = SPACE,
    data_dir: Annotated[Path, _option("Where data sets are kept")] = Path("data"),
    json: Annotated[Path | None, _option("Keep the rows here; a file begun is continued")] = None,
    jobs: Annotated[
        int | None, _option("Processes. Default: one for each core", min=1, max=1024)
    ] = None,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """Train architectures with short and long schedules: do the short ones predict?"""
    from benchmarks.schedule_report import run_and_report

    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    workers = jobs or os.cpu_count() or 1
    run_and_report(datasets.split(","), architectures, space, data_dir, workers, json)
    return 0


@app.command()
def end_to_end(
    budget: Annotated[int, _option("Trials of each search", min=1, max=10_000)] = 100,
    seeds: Annotated[int, _option("Runs of each search", min=1, max=100)] = 3,
    space: Annotated[Path, _option("The space that is searched, YAML")] = SPACE,
    epochs: Annotated[int | None, _option("Of the short schedule, overridden", min=1)] = None,
    train_images: Annotated[int | None, _option("Likewise", min=1)] = None,
    json: Annotated[Path | None, _option("Keep the runs here; a file begun is continued")] = None,
    debug: Annotated[bool, _option("Show a traceback on errors")] = False,
) -> int:
    """Whole searches on the digits against Ray Tune with OptunaSearch and a plain loop."""
    from benchmarks.end_to_end import Task, run_and_report

    if json is not None and json.is_dir():
        raise ValueError(f"--json: {json} is a folder; accepted: a file to write")
    run_and_report(Task(space, budget, epochs, train_images), seeds, json)
    return 0
