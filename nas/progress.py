"""How far a measurement is, with an estimate of the rest, on standard error."""

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

from nas.format import format_duration, one_line

LINE_EVERY = 60.0  # seconds between two lines where the output is no terminal

Step = TypeVar("Step")


class Progress(Protocol):
    """Follows steps: gives each on as it comes, and counts it when the next is asked for."""

    def __call__(self, steps: Iterable[Step], total: int, there: int = 0, /) -> Iterable[Step]:
        """The same steps.

        Args:
            steps: what is left to do.
            total: number of steps, those that an earlier run did included.
            there: number of those.
        """


def silent(steps: Iterable[Step], total: int, there: int = 0, /) -> Iterable[Step]:
    """A `Progress` that shows nothing."""
    return steps


def shown(title: str) -> Progress:
    """A `Progress` that shows a meter."""

    def follow(steps: Iterable[Step], total: int, there: int = 0, /) -> Iterable[Step]:
        with Meter(title, total, there) as meter:
            for step in steps:
                yield step
                meter.ended()

    return follow


class Meter:
    """A bar that is wiped at the end; where there is no terminal, a line now and then.

    Args:
        title: of what is done.
        total: number of steps.
        there: how many of them an earlier run did, which says nothing of the speed.
    """

    def __init__(self, title: str, total: int, there: int = 0) -> None:
        console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=24 * 3600,  # a step may take long
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, completed=there)
        self._title, self._total, self._there, self._done = title, total, there, there
        self._begun = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begins(self, title: str) -> None:
        """Say what the next step is."""
        self._title = title
        self._bar.update(self._task, description=title)

    def ended(self) -> None:
        """Count a step."""
        self._done += 1
        self._bar.advance(self._task)
        now = time.monotonic()
        if self._bar.disable and now - self._last_line >= LINE_EVERY:
            self._last_line = now
            passed = now - self._begun
            rest = passed / (self._done - self._there) * (self._total - self._done)
            self._bar.console.print(
                f"{self._title}: {self._done}/{self._total}, {format_duration(passed)}, "
                f"about {format_duration(rest)} left",
                highlight=False,
                soft_wrap=True,
            )


class TrainingBars:
    """Bars of the trainings that run, on standard error; lines where that is no terminal."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._all: Task | None = None

    def expect(self, trainings: int, work: int) -> None:
        """So many trainings follow, of so many multiply-adds an image and epoch in all."""
        if self._all is not None:
            self._bars.remove_task(self._all.id)
        name = "1 training" if trainings == 1 else f"{trainings} trainings"
        self._all = self._add(name, work, "")

    def add(self, name: str, epochs: int, macs: int) -> TrainingBar:
        """A training that starts."""
        assert self._all is not None
        return TrainingBar(self._bars, self._add(name, epochs, "epochs"), self._all, macs)

    def _add(self, name: str, total: int, unit: str) -> Task:
        new = self._bars.add_task(name, total=total, note="", unit=unit)
        return next(task for task in self._bars.tasks if task.id == new)


class TrainingBar:
    """Shows one training, see `nas.tune.training_pool.Show`, and moves the bar of all."""

    def __init__(self, bars: RichProgress, own: Task, all_: Task, macs: int) -> None:
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
def training_bars(quiet: bool) -> Iterator[TrainingBars]:
    """Bars that are shown for as long as the context lasts."""
    console = Console(stderr=True, quiet=quiet)
    with RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        _Count(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        speed_estimate_period=24 * 3600,  # an epoch may take long
        disable=quiet or not console.is_terminal,
    ) as bars:
        yield TrainingBars(bars)
