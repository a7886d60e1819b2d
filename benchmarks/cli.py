"""The command line of the benchmarks: each prints a table and can write its figures as JSON."""

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


def _writable(path: Path | None) -> Path | None:
    if path is not None and path.is_dir():
        raise ValueError(f"--json: {path} is a folder; accepted: a file to write")
    return path


Debug = Annotated[bool, _option("Show a traceback on errors")]
Json = Annotated[Path | None, _option("Write the figures here", callback=_writable)]
ContinuedJson = Annotated[
    Path | None,
    _option("Write the runs here; an unfinished file is continued", callback=_writable),
]
Jobs = Annotated[int | None, _option("Processes. Default: one for each core", min=1, max=1024)]


@app.callback()
def benchmark() -> None:
    """Measure the parts of a search."""


@app.command()
def sampler(
    table: Annotated[
        list[str] | None,
        _option("A table's CSV file, or generated:categorical|ordinal|mixed[:SEED]. Repeatable"),
    ] = None,
    synthetic: Annotated[
        int, _option("Synthetic accuracies on the full space to add, each searched once", min=0)
    ] = 0,
    evals: Annotated[int, _option("Evaluations of a run", min=1, max=10_000)] = 200,
    seeds: Annotated[int, _option("Runs of each sampler on each table", min=1, max=1000)] = 15,
    samplers: Annotated[
        str, _option("Comma-separated; NAME:K for at most K seeds; botorch on tables only")
    ] = "known-cost,botorch:5,gp,tpe,nsga2,random",
    noise: Annotated[
        bool, _option("Tell samplers the accuracy of one training seed; the score is of the mean")
    ] = False,
    json: Json = None,
    jobs: Jobs = None,
    cache: Annotated[Path, _option("Folder of finished runs")] = CACHE,
    debug: Debug = False,
) -> int:
    """Compare samplers on tables of training results."""
    from benchmarks.sampler_report import run_and_report

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
def transfer(
    source: Annotated[
        str,
        _option(
            "The table that was searched before, as for sampler --table. FILE:cells=N,width=N: "
            "NATS-Bench with the costs of N cells a stage or N channels"
        ),
    ],
    target: Annotated[str, _option("The table that is searched now, with the same columns")],
    trials: Annotated[int, _option("Evaluations of the source", min=4, max=10_000)] = 100,
    evals: Annotated[int, _option("Evaluations of the target", min=1, max=10_000)] = 100,
    seeds: Annotated[int, _option("Pairs of searches", min=1, max=1000)] = 15,
    json: ContinuedJson = None,
    jobs: Jobs = None,
    debug: Debug = False,
) -> int:
    """Searches that know the results of an earlier one, beside cold starts."""
    from benchmarks.transfer_report import run_and_report

    run_and_report(
        source,
        target,
        trials=trials,
        evaluations=evals,
        seeds=seeds,
        json_path=json,
        workers=jobs or os.cpu_count() or 1,
    )
    return 0


@app.command()
def estimates(
    table: Annotated[list[str], _option("A table's CSV file. Repeatable")],
    seeds: Annotated[int, _option("Searches of each table", min=1, max=1000)] = 15,
    images: Annotated[int, _option("Of the validation split, whose noise is added", min=10)] = 2000,
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """Estimates of a front against the truth, in searches of tables with noise."""
    from benchmarks.estimates import run_and_report

    run_and_report(table, range(seeds), images, json)
    return 0


@app.command()
def operator(
    repetitions: Annotated[
        int, _option("Runs of each version on each shape", min=1, max=1000)
    ] = 15,
    json: Json = None,
    debug: Debug = False,
) -> int:
    """Time and memory of the compiled operators against plain ones."""
    from benchmarks.operator_report import run_and_report

    run_and_report(repetitions, json)
    return 0


@app.command()
def stopping(
    curves: Annotated[
        Path | None, _option("A table of learning curves: columns macs, epoch_1, epoch_2, ...")
    ] = None,
    generated: Annotated[
        int,
        _option("Or a number of synthetic tables: short schedules, crossing curves, noise", min=0),
    ] = 0,
    recorded: Annotated[
        bool, _option("Or the recorded searches, with training losses and without", "--recorded")
    ] = False,
    orders: Annotated[int, _option("Random orders of the trials", min=1, max=1000)] = 20,
    rungs: Annotated[
        str | None, _option("Comma-separated epochs, for all rules. Default: as a search does")
    ] = None,
    json: Json = None,
    debug: Debug = False,
) -> int:
    """Compare early-stopping rules on tables of learning curves."""
    from benchmarks import recorded_replay
    from benchmarks.stopping_table import parse_rungs, run_stopping

    if recorded:
        if curves is not None or generated or rungs is not None:
            raise ValueError("--recorded: accepted without --curves, --generated and --rungs")
        recorded_replay.run_and_report(orders, json)
        return 0
    run_stopping(curves, generated, orders=orders, evaluated=parse_rungs(rungs), json_file=json)
    return 0


@app.command()
def training(
    repetitions: Annotated[
        int, _option("Trainings of each network, each with its own seed", min=1, max=1000)
    ] = 3,
    data_dir: Annotated[Path, _option("Folder of the data sets")] = Path("data"),
    gpu: Annotated[bool, _option("Train on this machine's GPU", "--gpu")] = False,
    accuracy: Annotated[
        bool, _option("Compare accuracies after whole schedules, on the CPU", "--accuracy")
    ] = False,
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """Images per second of the trainer against a baseline training loop; or their accuracies."""
    import torch

    from benchmarks import training_accuracy
    from benchmarks.training_report import run_and_report

    if accuracy:
        if gpu:
            raise ValueError("--accuracy --gpu: accepted: one of the two")
        training_accuracy.run_and_report(repetitions, data_dir, json)
        return 0
    if gpu and not torch.cuda.is_available():
        raise ValueError("--gpu: PyTorch finds no GPU here; accepted: without it, on the CPU")
    run_and_report(repetitions, data_dir, torch.device("cuda" if gpu else "cpu"), json)
    return 0


@app.command()
def overhead(
    space: Annotated[Path, _option("The space that is searched, YAML")] = SPACE,
    json: Json = None,
    debug: Debug = False,
) -> int:
    """Overhead per trial, busy share of 64 slots, a study of 10,000 trials."""
    from benchmarks.overhead import run_and_report

    run_and_report(space, json)
    return 0


@app.command()
def latency(
    networks: Annotated[
        int, _option("Number of networks, half DCT, half their pointwise twins", min=6, max=1000)
    ] = 20,
    batch: Annotated[int, _option("Images per pass", min=1, max=4096)] = 1,
    compiled: Annotated[bool, _option("Measure what torch.compile makes", "--compiled")] = False,
    space: Annotated[Path, _option("The space that networks are drawn from, YAML")] = SPACE,
    against: Annotated[Path | None, _option("A --json of an earlier run, to compare with")] = None,
    json: Json = None,
    debug: Debug = False,
) -> int:
    """How well FLOPs predict latency, for DCT and for pointwise networks."""
    from benchmarks.latency import run_and_report

    run_and_report(space, networks, batch, compiled, against, json)
    return 0


@app.command()
def latency_model(
    backends: Annotated[str, _option("Comma-separated")] = "pytorch,onnxruntime",
    space: Annotated[Path, _option("The space that networks are drawn from, YAML")] = SPACE,
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """How well latencies of unseen networks are predicted from 30 measured ones."""
    from benchmarks.latency_model import run_and_report

    run_and_report(space, backends.split(","), json)
    return 0


@app.command()
def int8_accuracy(
    networks: Annotated[int, _option("Networks, each trained with two seeds", min=5)] = 20,
    dataset: Annotated[str, _option("The data set, as in a search")] = "fashion-mnist",
    data_dir: Annotated[Path, _option("Folder of the data sets")] = Path("data"),
    space: Annotated[Path, _option("The space that networks are drawn from, YAML")] = SPACE,
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """Fake quantisation beside ONNX Runtime, and int8 accuracy beside float's."""
    from benchmarks.int8_accuracy import run_and_report

    run_and_report(space, dataset, data_dir, networks, json)
    return 0


@app.command()
def schedule(
    datasets: Annotated[str, _option("Comma-separated")] = "digits,fashion-mnist",
    architectures: Annotated[int, _option("On each data set", min=5, max=1000)] = 24,
    space: Annotated[Path, _option("The space that architectures are drawn from, YAML")] = SPACE,
    data_dir: Annotated[Path, _option("Folder of the data sets")] = Path("data"),
    json: ContinuedJson = None,
    jobs: Jobs = None,
    debug: Debug = False,
) -> int:
    """How well short schedules rank architectures, compared with a long one."""
    from benchmarks.schedule_report import run_and_report

    workers = jobs or os.cpu_count() or 1
    run_and_report(datasets.split(","), architectures, space, data_dir, workers, json)
    return 0


@app.command()
def retraining(
    parts: Annotated[
        str, _option("Comma-separated: small, ideas, long-ideas, rates, quick-ideas, lengths")
    ] = "small,ideas,rates",
    seeds: Annotated[int, _option("Of each network and recipe", min=1, max=100)] = 3,
    data_dir: Annotated[Path, _option("Folder of the data sets")] = Path("data"),
    jobs: Jobs = None,
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """Full training on few images, ideas for a better recipe, and learning rates of short runs."""
    from benchmarks.retraining_report import run_and_report

    run_and_report(parts.split(","), seeds, data_dir, jobs or os.cpu_count() or 1, json)
    return 0


@app.command()
def end_to_end(
    budget: Annotated[int, _option("Trials of each search", min=1, max=10_000)] = 100,
    seeds: Annotated[int, _option("Runs of each search", min=1, max=100)] = 3,
    dataset: Annotated[str, _option("The data set, as in a search")] = "digits",
    data_dir: Annotated[Path, _option("Folder of the data sets")] = Path("data"),
    space: Annotated[Path, _option("The space that is searched, YAML")] = SPACE,
    epochs: Annotated[int | None, _option("Epochs of the short schedule", min=1)] = None,
    train_images: Annotated[
        int | None, _option("Training images of the short schedule", min=1)
    ] = None,
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """Whole searches against two searches that are built on Ray Tune and Optuna."""
    from benchmarks.end_to_end import Task, run_and_report

    task = Task(space, budget, dataset, data_dir, epochs, train_images)
    run_and_report(task, seeds, json)
    return 0


@app.command()
def device_search(
    samplers: Annotated[
        str, _option("Comma-separated; NAME:K for at most K seeds")
    ] = "known-cost,tpe,nsga2,gp:3",
    seeds: Annotated[int, _option("Searches of each sampler", min=1, max=1000)] = 15,
    evals: Annotated[int, _option("Evaluations of a search", min=1, max=10_000)] = 200,
    json: ContinuedJson = None,
    jobs: Jobs = None,
    debug: Debug = False,
) -> int:
    """Samplers within limits of memory and flash, on synthetic accuracies."""
    from benchmarks.device_search import run_and_report

    run_and_report(samplers.split(","), seeds, evals, json, jobs or os.cpu_count() or 1)
    return 0


@app.command()
def second_search(
    folder: Annotated[Path, _option("Folder of the studies; those in it are continued")] = Path(
        "build/second-search"
    ),
    budget: Annotated[int, _option("Trials of a cold start", min=2, max=10_000)] = 100,
    seeds: Annotated[int, _option("Of each kind of second search", min=1, max=100)] = 3,
    data_dir: Annotated[Path, _option("Folder of the data sets")] = Path("data"),
    space: Annotated[Path, _option("The space that is searched, YAML")] = SPACE,
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """Whole second searches with the first one as a source, against cold starts. Hours."""
    from benchmarks.second_search import SecondSearches, run_and_report

    run_and_report(SecondSearches(folder, budget, space, data_dir), seeds, json)
    return 0


@app.command()
def trained_front(
    earlier: Annotated[Path, _option("A checkout of the earlier version")],
    folder: Annotated[Path, _option("Folder of the studies, which are made anew")] = Path(
        "build/trained-front"
    ),
    budget: Annotated[int, _option("Trials of each search", min=5, max=10_000)] = 200,
    max_macs: Annotated[str, _option("Maximum multiply-adds of the networks")] = "4M",
    seeds: Annotated[int, _option("Runs of each version", min=1, max=100)] = 1,
    data_dir: Annotated[Path, _option("Folder of the data sets")] = Path("data"),
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """A search and four full trainings, by this version's commands and an earlier one's. Hours."""
    from benchmarks.trained_front import Runs, run_and_report

    run_and_report(Runs(folder, earlier, budget, max_macs, data_dir), seeds, json)
    return 0


@app.command()
def small_knees(
    folder: Annotated[
        Path, _option("Folder of data sets and studies; those in it are continued")
    ] = Path("build/small-knees"),
    budget: Annotated[int, _option("Trials of each search", min=5, max=10_000)] = 50,
    seeds: Annotated[int, _option("Searches of each data set", min=1, max=100)] = 3,
    data_dir: Annotated[Path, _option("Folder with the files of Fashion-MNIST")] = Path("data"),
    json: ContinuedJson = None,
    debug: Debug = False,
) -> int:
    """Searches on 200 to 900 images, and their knees trained in full beside the short schedule."""
    from benchmarks.small_knees import SmallSearches, run_and_report

    run_and_report(SmallSearches(folder, budget, data_dir), seeds, json)
    return 0


@app.command()
def gpu(
    data_dir: Annotated[
        Path, _option("Folder with the files of Fashion-MNIST; nothing is downloaded")
    ] = Path("data"),
    toy: Annotated[bool, _option("A rehearsal on the CPU, on few digits", "--toy")] = False,
    json: Annotated[
        Path | None, _option("Write the results here as they come", callback=_writable)
    ] = None,
    debug: Debug = False,
) -> int:
    """Trials at once, operators, profile and a whole search on one GPU, in 8 minutes."""
    import torch

    from benchmarks.gpu import run_and_report
    from nas.data import load_search_data

    if not toy:
        if not torch.cuda.is_available():
            raise ValueError("gpu: PyTorch finds no GPU here; accepted: --toy, or another machine")
        load_search_data("fashion-mnist", data_dir, download=False)  # an error before the start
    return 0 if run_and_report(data_dir, toy, json) else 1
