"""The live view of a running search: a few lines of a terminal, erased at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.cli.front_table import add_networks, subsample
from nas.format import format_duration
from nas.report.objective_scale import ObjectiveScale
from nas.study.front import FrontMember, finished_trials, measured_front
from nas.study.study import Candidate, SearchStudy
from nas.study.trial_state import trial_state

SPEED_WINDOW = 20  # latest trials that the estimate of the speed is based on
OTHER_LINES = 10  # lines of the view that are not rows of the front
MAX_ROWS = 12  # of the front
ECHO = 5  # columns, for ^C twice
MAX_WIDTH = 140  # columns; longer lines are hard to read


class LiveView:
    """The state of a running search, updated by events and drawn by rich.

    The events compute everything that is drawn: drawing happens in another thread, which must
    not read the study.

    Args:
        study: of the search.
        received: numbers of the signals received so far, such as that of Ctrl-C; the search
            ends after the first.
    """

    def __init__(self, study: SearchStudy, received: Sequence[int] = ()) -> None:
        self._study, self._received = study, received
        self._start = time.monotonic()
        self._scale = ObjectiveScale(study.config)
        self._tracker = self._scale.tracker()
        self._names = study.config.objectives.names
        self.counts = _counts(study)
        self.running = 0
        self.duplicates = 0
        self.phase = "starting Ray"
        self.members: list[FrontMember] = []
        self.improved: tuple[int, float | None] | None = (
            None  # trial and time; None: an earlier run
        )
        self._most = 0  # trials that ran at once
        self._ends: list[float] = []  # times, of the trials that count in this run
        for trial in finished_trials(study.study):
            self._update_front(
                trial.number, dict(zip(self._names, trial.values, strict=True)), None
            )
        self._refresh()

    @property
    def counted(self) -> int:
        """Architectures that count for the budget."""
        return self.counts["finished"] + self.counts["stopped"]

    @property
    def volume(self) -> float:
        """The hypervolume of the front."""
        return self._tracker.volume

    def started(self) -> None:
        """A trial was handed to Ray."""
        self.phase = "first trials running"
        self.running += 1
        self._most = max(self._most, self.running)
        self._refresh()

    def ended(self, candidate: Candidate, state: str) -> None:
        """The study holds a result; for `state` see `nas.tune.searcher.SearchView.ended`."""
        now = time.monotonic()
        self.counts[state] += 1
        self.running -= 1
        if state in ("finished", "stopped"):
            self._ends.append(now)
        if state == "finished":
            trials = finished_trials(self._study.study)
            trial = next(t for t in reversed(trials) if t.number == candidate.number)
            self._update_front(trial.number, dict(zip(self._names, trial.values, strict=True)), now)
        self._refresh()

    def _update_front(self, number: int, values: Mapping[str, float], when: float | None) -> None:
        before = self._tracker.volume
        if self._tracker.add(self._scale.point(values)) > before:
            self.improved = (number, when)
            self.members = []

    def _refresh(self) -> None:
        self.duplicates = self._study.duplicates
        if not self.members and self.counts["finished"]:
            trials = finished_trials(self._study.study)
            self.members = measured_front(trials, self._study.config.objectives)

    def estimate(self) -> str:
        """Speed and remaining time by the latest trials, or what the search waits for."""
        if self._received:
            return (
                "stopping: running trials are queued for the next start (Ctrl-C again ends at once)"
            )
        if self.counted >= self._study.budget:
            return "the budget is reached"
        # The first ends, as many as trials run at once, include the start of their workers. Trials
        # that run at once may end at once: whole rounds of them are counted.
        steady = min(len(self._ends) - self._most, max(SPEED_WINDOW, self._most))
        trials = steady // max(1, self._most) * self._most
        if trials < 1:
            return self.phase
        each = (self._ends[-1] - self._ends[-1 - trials]) / trials
        left = format_duration((self._study.budget - self.counted) * each)
        return f"{_speed(each)}, about {left} left"

    def tally(self) -> str:
        """Number of trials in each state."""
        parts = [f"{self.counts['finished']} finished", f"{self.running} running"]
        parts += [f"{self.counts['stopped']} stopped", f"{self.counts['failed']} failed"]
        if self.counts["refused"]:
            parts.append(f"{self.counts['refused']} refused")
        if self.duplicates:
            parts.append(f"{self.duplicates} repeated")
        return "  ".join(parts)

    def progress(self) -> str:
        """The hypervolume of the front and the trial that last increased it."""
        if self.improved is None:
            if not self.members:
                return "hypervolume 0: no network has been trained to the end yet"
            best = max(member.attributes["accuracy"] for member in self.members)
            if best > 1 / self._study.config.dataset.num_classes:
                return "hypervolume 0: only the most expensive network is better than guessing yet"
            return "hypervolume 0: no network is better than guessing yet"
        number, when = self.improved
        ago = (
            "in an earlier run"
            if when is None
            else f"{format_duration(time.monotonic() - when)} ago"
        )
        return f"hypervolume {self.volume:.4f}, last improved by trial {number}, {ago}"

    def elapsed(self) -> str:
        """Time since the start of this run."""
        return format_duration(time.monotonic() - self._start)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A terminal echoes ^C after the last line; if that wrapped, the view would be erased from
        # one line too low, and its first line would stay.
        width = min(MAX_WIDTH, options.max_width - ECHO)
        budget = self._study.budget
        bar = Table.grid(padding=(0, 2))
        bar.add_column(width=max(8, width - 42), no_wrap=True)
        bar.add_column(no_wrap=True)
        bar.add_column(no_wrap=True, overflow="ellipsis")
        bar.add_row(
            ProgressBar(total=budget, completed=min(self.counted, budget)),
            f"{self.counted}/{budget}",
            f"{100 * self.counted / budget:.0f} %, {self.elapsed()}",
        )
        lines: list[Text | Table] = [
            Text(f"study {self._study.study.study_name}", style="bold"),
            bar,
            Text(self.tally()),
            Text(self.estimate()),
            Text(self.progress()),
        ]
        for line in lines:
            if isinstance(line, Text):
                line.truncate(width, overflow="ellipsis")
                line.no_wrap = True
        rows = min(MAX_ROWS, console.height - OTHER_LINES)
        if self.members and rows > 3:
            lines.append(self._table(subsample(self.members, rows), width))
        yield Group(*lines)

    def _table(self, members: list[FrontMember], width: int) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), width=width, header_style="dim", title=None)
        title = f"front: {len(self.members)}"
        columns = self._study.config.columns
        add_networks(table, title, lambda member: f"trial {member.trial.number}", members, columns)
        return table


def _counts(study: SearchStudy) -> Counter[str]:
    """Number of trials in each state before this run."""
    return Counter(trial_state(trial) for trial in study.study.get_trials(deepcopy=False))


def _speed(seconds: float) -> str:
    """Seconds per trial, or trials per minute where a trial takes less than 30 seconds."""
    return f"{60 / seconds:.1f} trials/min" if seconds < 30 else f"{seconds:.0f} s per trial"
