"""What a person sees while a search runs: a live line, or plain lines in a file."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from nas.cli import format_count, format_duration
from nas.search.study import Candidate, SearchStudy

LINE_EVERY = 10  # seconds between two lines where the output is no terminal

logger = logging.getLogger("nas.search")


class SearchProgress:
    """Progress of a search, with an estimate of the rest.

    Args:
        console: where to show it; a terminal gets one live line, anything else plain lines.
        study: what is counted.
        quiet: show nothing.
    """

    def __init__(self, console: Console, study: SearchStudy, quiet: bool = False) -> None:
        self._console, self._study, self._quiet = console, study, quiet
        self._start = time.monotonic()
        self._last_line = self._start
        self._before = study.counted
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rest]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "searching", total=study.budget, completed=study.counted, rest="starting Ray"
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def started(self, candidate: Candidate) -> None:
        """A trial was handed to Ray."""
        logger.info(
            "trial %d started: %s, %s multiply-adds",
            candidate.number,
            candidate.arch,
            format_count(candidate.cost.macs),
        )
        self._show()

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None:
        """A running trial reached a rung."""
        logger.info("trial %d: %.4f at epoch %d", candidate.number, accuracy, epochs)

    def ended(self, candidate: Candidate, state: str, detail: str) -> None:
        """A trial was recorded."""
        logger.info("trial %d %s: %s", candidate.number, state, detail)
        self._show()
        now = time.monotonic()
        done = self._study.counted >= self._study.budget
        if self._bar.disable and not self._quiet and (now - self._last_line >= LINE_EVERY or done):
            self._last_line = now
            self._console.print(
                f"{self._study.counted}/{self._study.budget} architectures, "
                f"{format_duration(now - self._start)}, {self._rest()}",
                highlight=False,
            )

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._study.counted, rest=self._rest())

    def _rest(self) -> str:
        done = self._study.counted - self._before
        if not done:
            return "first trials running"
        per_trial = (time.monotonic() - self._start) / done
        rest = format_duration((self._study.budget - self._study.counted) * per_trial)
        failed = self._study.failures.total()
        return f"about {rest} left" + (f", {failed} failed" if failed else "")
