"""What a retraining shows: a bar for each training, tables of what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from nas.cli.options import one_line
from nas.cli.search_view import PLAIN_WIDTH
from nas.report.comparison_plots import comparison_rows, describe_retraining


@dataclass(frozen=True)
class Retrained:
    """What came of a retraining."""

    metrics: list[dict[str, Any]]  # of each network and seed, with its `folder`
    summary: dict[str, Any] | None  # see `nas.retrain.comparison.summarise`
    notes: list[str]  # references that there are not
    failures: list[str]  # trainings that brought no network, and why
    files: list[Path]


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
    for failure in retrained.failures:
        print(f"failed: {one_line(failure)}", file=sys.stderr)


class Bars:
    """Bars of the trainings that run, on standard error; lines where that is no terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._all: Task | None = None

    def expect(self, trainings: int, work: int) -> None:
        """So many trainings follow, of so many multiply-adds an image and epoch in all."""
        if self._all is not None:
            self._bars.remove_task(self._all.id)
        name = "1 training" if trainings == 1 else f"{trainings} trainings"
        self._all = self._add(name, work, "")

    def add(self, name: str, epochs: int, macs: int) -> Bar:
        """A training that starts."""
        assert self._all is not None
        return Bar(self._bars, self._add(name, epochs, "epochs"), self._all, macs)

    def _add(self, name: str, total: int, unit: str) -> Task:
        new = self._bars.add_task(name, total=total, note="", unit=unit)
        return next(task for task in self._bars.tasks if task.id == new)


class Bar:
    """Shows one training, see `nas.tune.training_pool.Show`, and moves the bar of all."""

    def __init__(self, bars: Progress, own: Task, all_: Task, macs: int) -> None:
        self._bars, self._own, self._all, self._macs = bars, own, all_, macs
        self._epoch: int | None = None  # the last that was shown
        self._note = "trained before"

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """Move the bars, or print a line where there is no terminal."""
        self._note = f"loss {loss:.3f}, validation {100 * accuracy:.2f} %"
        if self._epoch is None:
            self._epoch = epoch - 1
            self._expect_less(self._epoch)  # an earlier run's, which says nothing of the speed
        self._bars.advance(self._all.id, (epoch - self._epoch) * self._macs)
        self._bars.update(self._own.id, completed=epoch, note=self._note)
        self._epoch = epoch
        if self._bars.disable:
            self._print(f"epoch {epoch}/{epochs}, {self._note}")

    def done(self, failed: str | None = None) -> None:
        """Leave a line in the place of the bar."""
        self._expect_less(round(self._own.total or 0) - (self._epoch or 0))
        self._print(f"failed: {failed}" if failed else f"done, {self._note}")
        self._bars.remove_task(self._own.id)

    def _expect_less(self, epochs: int) -> None:
        total = (self._all.total or 0) - epochs * self._macs
        self._bars.update(self._all.id, total=total)

    def _print(self, text: str) -> None:
        line = f"{self._own.description}: {one_line(text)}"
        self._bars.console.print(line, highlight=False, markup=False)


class _Count(ProgressColumn):
    """Epochs of a training, per cent of all."""

    def render(self, task: Task) -> Text:
        if task.fields["unit"]:
            return Text(f"{task.completed:.0f}/{task.total:.0f} epochs")
        return Text(f"{task.percentage:.0f} %")


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Bars]:
    """Bars that are shown for as long as the context lasts."""
    console = Console(stderr=True, quiet=quiet)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        _Count(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        speed_estimate_period=24 * 3600,  # an epoch may take long
        disable=quiet or not console.is_terminal,
    ) as bars:
        yield Bars(bars)


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
