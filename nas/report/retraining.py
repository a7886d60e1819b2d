"""Retrain what is chosen of a front, one network after the other, and show the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from nas.data import SearchData, load_search_data
from nas.report.comparison import SUMMARY, summarise
from nas.report.comparison_view import comparison_rows, describe_retraining, write_figure
from nas.report.export import load_front
from nas.report.learning_rate import choose_rates
from nas.report.references import Contender, contenders
from nas.report.select import select
from nas.report.study_folder import refresh_report
from nas.report.terminal import PLAIN_WIDTH
from nas.training import Recipe
from nas.training.retrain import retrain, validate

MAX_SEEDS = 100
MAX_RATES = 10


@dataclass(frozen=True)
class Wanted:
    """What is to be retrained, and how."""

    front: Path  # a front.json
    select: str
    recipe: Recipe
    learning_rates: tuple[float, ...]  # each family takes the best of them
    seeds: int  # each network is trained with seeds 0, 1, ...
    references: tuple[str, ...]  # see `nas.report.references.contenders`
    export: tuple[str, ...]  # formats
    threads: int | None
    data_dir: Path


@dataclass(frozen=True)
class Retrained:
    """What came of it."""

    metrics: list[dict[str, Any]]  # of each network and seed, with its `folder`
    summary: dict[str, Any] | None  # see `nas.report.comparison.summarise`
    notes: list[str]  # references that there are not
    files: list[Path]


def retrain_front(wanted: Wanted, *, quiet: bool = False) -> Retrained:
    """Train everything that is wanted in `retrained/NAME/`, or `NAME/seed-K/` after the first.

    What is finished is not trained again; what was interrupted continues. The summary, its
    figure and the study's report are written at the end.

    Raises:
        ValueError: one line that says what is wrong, before any training.
    """
    _require_ranges(wanted)
    front = load_front(wanted.front)
    chosen = [entry.build_arch() for entry in select(front, wanted.select)]
    info = front.dataset_info()
    networks, notes = contenders(chosen, wanted.references, info)
    data = load_search_data(info.name, wanted.data_dir, image_size=info.image_size)
    if data.info.fingerprint != info.fingerprint:
        raise ValueError(
            f"front file {wanted.front}: its data set {info.name} is another one "
            f"({info.fingerprint}) than the one found here ({data.info.fingerprint})"
        )
    home = wanted.front.parent / "retrained"
    try:
        with _progress(quiet) as bar:
            work = _Work(wanted, data, home, bar)
            recipes = choose_rates(
                networks, wanted.recipe, wanted.learning_rates, home, info, work.validate
            )
            metrics = [
                work.retrain(network, recipes[network.family], seed)
                for seed in range(wanted.seeds)  # every network once before any one twice
                for network in networks
            ]
    finally:  # after an interruption too, of what is finished
        summary = summarise(front, home, wanted.recipe)
        files = [] if summary is None else [home / SUMMARY, write_figure(summary, home)]
    if report := refresh_report(wanted.front.parent):
        files.append(report)
    return Retrained(metrics, summary, notes, files)


def _require_ranges(wanted: Wanted) -> None:
    if not 1 <= wanted.seeds <= MAX_SEEDS:
        raise ValueError(f"--seeds {wanted.seeds}: accepted: 1 to {MAX_SEEDS}")
    if wanted.threads is not None and not 1 <= wanted.threads <= 1024:
        raise ValueError(f"--threads {wanted.threads}: accepted: 1 to 1024")
    if len(wanted.learning_rates) > MAX_RATES:
        raise ValueError(f"--learning-rate: accepted: at most {MAX_RATES} by commas")
    if wanted.export:
        from nas.deploy.export import require_format

        for name in wanted.export:
            require_format(name)


class _Work:
    """Trains one network after the other and shows how far it is."""

    def __init__(self, wanted: Wanted, data: SearchData, home: Path, bar: Progress) -> None:
        self._wanted, self._data = wanted, data
        self._home, self._bar = home, bar
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def validate(self, contender: Contender, recipe: Recipe, folder: Path) -> float:
        """Train with seed 0 for the validation split alone."""
        show = self._show(f"{contender.name} at {recipe.learning_rate:g}", recipe)
        accuracy = validate(
            contender.network,
            self._data,
            recipe,
            0,
            folder,
            device=self._device,
            threads=self._wanted.threads,
            progress=show,
        )
        show.done()
        return accuracy

    def retrain(self, contender: Contender, recipe: Recipe, seed: int) -> dict[str, Any]:
        """Train and test; export where that is wanted."""
        home = self._home / contender.name
        folder = home if seed == 0 else home / f"seed-{seed}"
        show = self._show(f"{contender.name} seed {seed}", recipe)
        measured = retrain(
            contender.network,
            self._data,
            self._wanted.data_dir,
            recipe,
            seed,
            folder,
            device=self._device,
            threads=self._wanted.threads,
            progress=show,
            labels={
                "network": contender.name,
                "family": contender.family,
                "of": contender.of,
                "learning_rate": recipe.learning_rate,
            },
        )
        show.done()
        if self._wanted.export:
            from nas.deploy.export import export

            exported = export(folder, self._wanted.export, self._wanted.data_dir)
            return {"folder": str(folder), **measured, "export": exported}
        return {"folder": str(folder), **measured}

    def _show(self, name: str, recipe: Recipe) -> _Show:
        task = self._bar.add_task(name, total=recipe.epochs, note="")
        return _Show(self._bar, task, name, recipe.epochs)


def show_retrained(retrained: Retrained) -> None:
    """Print tables of what was retrained, and what it says about the search."""
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH)
    if retrained.summary is not None:
        console.print(_table(retrained.summary))
        for line in describe_retraining(retrained.summary):
            console.print(line, highlight=False)
    for name, exported in (
        (one["network"], one["export"]) for one in retrained.metrics if "export" in one
    ):
        console.print(_export_line(name, exported), highlight=False)
    for note in retrained.notes:
        console.print(note, highlight=False)
    for path in [*(measured["folder"] for measured in retrained.metrics), *retrained.files]:
        print(f"written: {path}")


class _Show:
    """Moves one network's bar, or prints a line per epoch where there is no terminal."""

    def __init__(self, bar: Progress, task: Any, name: str, epochs: int) -> None:
        self._bar, self._task, self._name, self._epochs = bar, task, name, epochs

    def done(self) -> None:
        """Fill the bar, of a network that was trained before too."""
        self._bar.update(self._task, completed=self._epochs, note="done")

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        note = f"loss {loss:.3f}, validation {100 * accuracy:.2f} %"
        self._bar.update(self._task, completed=epoch, note=note)
        if self._bar.disable:
            self._bar.console.print(
                f"{self._name}: epoch {epoch}/{epochs}, {note}", highlight=False
            )


def _table(summary: dict[str, Any]) -> Table:
    rows = comparison_rows(summary)
    table = Table(
        title="Retrained networks",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    names = {"network": "network", "macs": "FLOPs", "params": "params", "learning_rate": "lr"}
    names |= {"seeds": "seeds", "test": "test accuracy"}
    names |= {"mark": ""} if any(row["mark"] for row in rows) else {}
    for name, title in names.items():
        left = name in ("network", "mark")
        table.add_column(
            title,
            justify="left" if left else "right",
            no_wrap=name != "mark",
            overflow="ellipsis",
            min_width=10 if name == "mark" else None,
        )
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _export_line(name: str, exported: dict[str, Any]) -> str:
    """Agreement and latency of what was exported, for one image on one thread."""
    shown = ", ".join(
        f"{form} {1e3 * seconds['1']:.2f} ms" for form, seconds in exported["seconds"].items()
    )
    largest = max(exported["largest_difference"].values())
    return (
        f"{name} exported (ONNX opset {exported['opset']}): logits agree to {largest:.0e} of the "
        f"largest; one image on one thread: {shown}"
    )


def _progress(quiet: bool) -> Progress:
    console = Console(stderr=True, quiet=quiet)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=quiet or not console.is_terminal,
    )
