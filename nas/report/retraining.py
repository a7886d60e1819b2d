"""Retrain what is chosen of a front, one network after the other, and show the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from nas.arch import Arch
from nas.cli import format_count
from nas.data import load_search_data
from nas.models.reference import REFERENCES
from nas.report.export import load_front
from nas.report.select import select
from nas.training import Recipe
from nas.training.retrain import retrain

MAX_SEEDS = 100


@dataclass(frozen=True)
class Wanted:
    """What is to be retrained, and how."""

    front: Path  # a front.json
    select: str
    recipe: Recipe
    seeds: int  # each network is trained with seeds 0, 1, ...
    references: tuple[str, ...]  # names of `REFERENCES`
    threads: int | None
    data_dir: Path


def retrain_front(wanted: Wanted, *, quiet: bool = False) -> list[dict[str, Any]]:
    """Train everything that is wanted in `retrained/NAME/`, or `NAME/seed-K/` after the first.

    What is finished is not trained again; what was interrupted continues.

    Returns:
        The metrics of each network and seed, cheapest first, with its `folder`.

    Raises:
        ValueError: one line that says what is wrong, before any training.
    """
    if not 1 <= wanted.seeds <= MAX_SEEDS:
        raise ValueError(f"--seeds {wanted.seeds}: accepted: 1 to {MAX_SEEDS}")
    if wanted.threads is not None and not 1 <= wanted.threads <= 1024:
        raise ValueError(f"--threads {wanted.threads}: accepted: 1 to 1024")
    unknown = [name for name in wanted.references if name not in REFERENCES]
    if unknown:
        raise ValueError(f"--reference {unknown[0]}: accepted: {', '.join(REFERENCES)}")
    front = load_front(wanted.front)
    entries = select(front, wanted.select)
    info = front.dataset_info()
    data = load_search_data(info.name, wanted.data_dir, image_size=info.image_size)
    if data.info.fingerprint != info.fingerprint:
        raise ValueError(
            f"front file {wanted.front}: its data set {info.name} is another one "
            f"({info.fingerprint}) than the one found here ({data.info.fingerprint})"
        )
    networks: list[tuple[str, Arch | str]] = [
        (entry.arch_id, entry.build_arch()) for entry in entries
    ]
    networks += [(name, name) for name in wanted.references]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    home = wanted.front.parent / "retrained"
    metrics = []
    with _progress(quiet) as bar:
        for name, network in networks:
            for seed in range(wanted.seeds):
                folder = home / name if seed == 0 else home / name / f"seed-{seed}"
                task = bar.add_task(f"{name} seed {seed}", total=wanted.recipe.epochs, note="")
                show = _Show(bar, task, name)
                measured = retrain(
                    network,
                    data,
                    wanted.data_dir,
                    wanted.recipe,
                    seed,
                    folder,
                    device=device,
                    threads=wanted.threads,
                    progress=show,
                )
                bar.update(task, completed=wanted.recipe.epochs, note="done")
                metrics.append({"network": name, "folder": str(folder), **measured})
    return metrics


def show_metrics(metrics: list[dict[str, Any]]) -> None:
    """Print a table of what was retrained."""
    table = Table(title="Retrained networks")
    for name in ("network", "seed", "FLOPs (multiply-adds)", "params", "validation", "test"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for measured in metrics:
        table.add_row(
            measured["network"],
            str(measured["seed"]),
            format_count(measured["macs"]),
            format_count(measured["params"]),
            f"{100 * measured['val_accuracy']:.2f} %",
            f"{100 * measured['test_accuracy']:.2f} %",
        )
    Console().print(table)
    print("written: " + ", ".join(measured["folder"] for measured in metrics))


class _Show:
    """Moves one network's bar, or prints a line per epoch where there is no terminal."""

    def __init__(self, bar: Progress, task: Any, name: str) -> None:
        self._bar, self._task, self._name = bar, task, name

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        note = f"loss {loss:.3f}, validation {100 * accuracy:.2f} %"
        self._bar.update(self._task, completed=epoch, note=note)
        if self._bar.disable:
            self._bar.console.print(
                f"{self._name}: epoch {epoch}/{epochs}, {note}", highlight=False
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
