"""Progress of a running search: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from nas.cli.live_view import LiveView
from nas.format import format_count
from nas.study.study import Candidate, SearchStudy

LINE_EVERY = 10  # seconds between two lines where the output is no terminal
REFRESHES = 2  # of the live view, per second

logger = logging.getLogger("nas.study")


class SearchProgress:
    """The view of a search, a context manager; see `nas.tune.searcher.SearchView`.

    Args:
        console: a terminal shows the live view, which is erased at the end; other output gets
            plain lines.
        study: of the search.
        received: numbers of the signals received so far; the search ends after the first.
        quiet: show nothing.
    """

    def __init__(
        self,
        console: Console,
        study: SearchStudy,
        received: Sequence[int] = (),
        quiet: bool = False,
    ) -> None:
        self._console, self._study, self._quiet = console, study, quiet
        self._last_line = time.monotonic()
        self._view = LiveView(study, received)
        animated = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._live = (
            Live(
                self._view,
                console=console,
                transient=True,
                refresh_per_second=REFRESHES,
                vertical_overflow="crop",
            )
            if animated
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, candidate: Candidate) -> None:
        """A trial was handed to Ray."""
        logger.info(
            "trial %d started: %s, %s multiply-adds",
            candidate.number,
            candidate.arch,
            format_count(candidate.cost.macs),
        )
        self._view.started()

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None:
        """A running trial reached a rung."""
        logger.info("trial %d: %.4f at epoch %d", candidate.number, accuracy, epochs)

    def ended(self, candidate: Candidate, state: str, detail: str) -> None:
        """The study holds the result of a trial."""
        logger.info("trial %d %s: %s", candidate.number, state, detail)
        self._view.ended(candidate, state)
        if self._live is None and not self._quiet:
            self._print_line()

    def _print_line(self) -> None:
        now, view = time.monotonic(), self._view
        done = view.counted >= self._study.budget
        if now - self._last_line < LINE_EVERY and not done:
            return
        self._last_line = now
        self._console.print(
            f"{view.counted}/{self._study.budget} architectures, {view.elapsed()}, "
            f"{view.estimate()}; {view.tally().replace('  ', ', ')}; {view.progress()}",
            highlight=False,
            soft_wrap=True,
        )
