"""How far a measurement is, with an estimate of the rest, on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from nas.cli.options import format_duration

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
        self._bar = Bar(
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
