"""Progress of long work on standard error, with an estimate of the time that is left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from nas.format import format_duration, format_number, one_line

LINE_EVERY = 60.0  # seconds between two lines where standard error is not a terminal

Step = TypeVar("Step")


class Progress(Protocol):
    """Passes steps on and counts a step as done when the next one is requested."""

    def __call__(self, steps: Iterable[Step], total: int, done: int = 0, /) -> Iterable[Step]:
        """The same steps.

        Args:
            steps: the steps that are left.
            total: number of all steps.
            done: number of steps that an earlier run did; `total` includes them.
        """


def silent(steps: Iterable[Step], total: int, done: int = 0, /) -> Iterable[Step]:
    """A `Progress` that shows nothing."""
    return steps


def shown(title: str) -> Progress:
    """A `Progress` that shows a meter."""

    def follow(steps: Iterable[Step], total: int, done: int = 0, /) -> Iterable[Step]:
        with Meter(title, total, done) as meter:
            for step in steps:
                yield step
                meter.ended()

    return follow


class Meter:
    """A bar that disappears at the end; a line each minute where there is no terminal.

    Args:
        title: name of the work.
        total: number of all steps.
        done: number of steps that an earlier run did, which do not count for the speed.
    """

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        console = Console(stderr=True, markup=False)  # names and paths may hold brackets
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=24 * 3600,  # a step may take long
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, completed=done)
        self._title, self._total, self._earlier, self._done = title, total, done, done
        self._begun = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begins(self, title: str) -> None:
        """Show the name of the next step."""
        self._title = title
        self._bar.update(self._task, description=title)

    def ended(self) -> None:
        """Count a step as done."""
        self._done += 1
        self._bar.advance(self._task)
        now = time.monotonic()
        if self._bar.disable and now - self._last_line >= LINE_EVERY:
            self._last_line = now
            passed = now - self._begun
            rest = passed / (self._done - self._earlier) * (self._total - self._done)
            self._bar.console.print(
                f"{self._title}: {self._done}/{self._total}, {format_duration(passed)}, "
                f"about {format_duration(rest)} left",
                highlight=False,
                soft_wrap=True,
            )


class TrainingBars:
    """Bars of the running trainings on standard error; lines where it is not a terminal."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._all: Task | None = None

    def say(self, line: str) -> None:
        """Show a line above the bars."""
        self._bars.console.print(line, highlight=False, soft_wrap=True)

    def expect(self, trainings: int, work: int) -> None:
        """Announce a number of trainings, and the sum of multiply-adds per image times epochs."""
        if self._all is not None:
            self._bars.remove_task(self._all.id)
        self._all = self._add(format_number(trainings, "training"), work, "")

    def add(self, name: str, epochs: int, macs: int) -> TrainingBar:
        """A bar for a training that starts."""
        assert self._all is not None
        return TrainingBar(self._bars, self._add(name, epochs, "epochs"), self._all, macs)

    def _add(self, name: str, total: int, unit: str) -> Task:
        new = self._bars.add_task(name, total=total, note="", unit=unit)
        return next(task for task in self._bars.tasks if task.id == new)


class TrainingBar:
    """Shows one training, and moves the bar of all; see `nas.tune.training.TrainingView`."""

    def __init__(self, bars: RichProgress, own: Task, all_: Task, macs: int) -> None:
        self._bars, self._own, self._all, self._macs = bars, own, all_, macs
        self._epoch: int | None = None  # the last epoch that the bar shows
        self._note = "trained before"

    def __call__(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """Move the bars after an epoch, or print a line where there is no terminal."""
        self._note = f"loss {loss:.3f}, validation {100 * accuracy:.2f} %"
        if self._epoch is None:
            self._epoch = epoch - 1
            self._expect_less(self._epoch)  # epochs of an earlier run do not count for the speed
        self._bars.advance(self._all.id, (epoch - self._epoch) * self._macs)
        self._bars.update(self._own.id, completed=epoch, note=self._note)
        self._epoch = epoch
        if self._bars.disable:
            self._print(f"epoch {epoch}/{epochs}, {self._note}")

    def fine_tuned(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """Show an epoch of fine-tuning in int8, which no bar counts."""
        note = (
            f"int8 fine-tuning: epoch {epoch}/{epochs}, loss {loss:.3f}, "
            f"validation in int8 {100 * accuracy:.2f} %"
        )
        self._bars.update(self._own.id, note=note)
        if self._bars.disable:
            self._print(note)

    def done(self, failed: str | None = None) -> None:
        """Replace the bar by a line."""
        self._expect_less(round(self._own.total or 0) - (self._epoch or 0))
        self._print(f"failed: {failed}" if failed else f"done, {self._note}")
        self._bars.remove_task(self._own.id)

    def _expect_less(self, epochs: int) -> None:
        total = (self._all.total or 0) - epochs * self._macs
        self._bars.update(self._all.id, total=total)

    def _print(self, text: str) -> None:
        line = f"{self._own.description}: {one_line(text)}"
        self._bars.console.print(line, highlight=False)


class _Count(ProgressColumn):
    """Shows the epochs of one training, and the per cent of all trainings."""

    def render(self, task: Task) -> Text:
        if task.fields["unit"]:
            return Text(f"{task.completed:.0f}/{task.total:.0f} epochs")
        return Text(f"{task.percentage:.0f} %")


@contextmanager
def training_bars(quiet: bool) -> Iterator[TrainingBars]:
    """Bars that are visible while the context is open; `quiet` shows nothing."""
    console = Console(stderr=True, quiet=quiet, markup=False)
    with RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        _Count(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        speed_estimate_period=24 * 3600,  # an epoch may take long
        disable=quiet or not console.is_terminal,
    ) as bars:
        yield TrainingBars(bars)
