"""A study in a few lines of text: the front as a table, and what the search saved."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import TrialState
from rich import box
from rich.table import Table

from nas.format import format_count
from nas.space.arch import Arch
from nas.study.front import FrontMember


def front_table(members: list[FrontMember], most: int = 20, *, fill: bool = False) -> Table:
    """The front, cheapest first; a long one is thinned evenly, keeping ends and knee.

    A row is one line. With `fill` the table is as wide as the terminal, and what does not fit
    of the architecture is cut off.
    """
    shown = thin(members, most)
    title = f"Pareto front, {len(members)} networks"
    table = Table(
        title=title + (f", {len(shown)} shown" if len(shown) < len(members) else ""),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        expand=fill,
        padding=(0, 2, 0, 0),
    )
    table.add_column("arch_id", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("FLOPs (multiply-adds)", justify="right", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    timed = any("latency" in member.attributes for member in shown)
    if timed:
        table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("architecture", no_wrap=True, overflow="ellipsis", ratio=1)
    for member in shown:
        attributes = member.attributes
        table.add_row(
            attributes["arch_id"],
            f"{100 * attributes['accuracy']:.2f} %",
            format_count(attributes["macs"]),
            format_count(attributes["params"]),
            *([f"{1e3 * attributes['latency']:.3g} ms"] if timed else []),
            ("knee: " if member.knee else "") + str(Arch.from_dict(attributes["arch"])),
            style="bold" if member.knee else "",
        )
    return table


def thin(members: list[FrontMember], most: int) -> list[FrontMember]:
    """At most `most` members: the ends, the knee, and others evenly in between."""
    if len(members) <= most:
        return members
    step = (len(members) - 1) / (most - 2)
    kept = {round(i * step) for i in range(most - 1)}
    kept |= {i for i, member in enumerate(members) if member.knee}
    return [members[i] for i in sorted(kept)]


@dataclass(frozen=True)
class Savings:
    """What a study did without."""

    repeats: int  # suggestions of known architectures, answered from the record
    stopped: int  # networks that were stopped early
    epochs: int  # not trained, for either reason


def savings(study: optuna.Study, schedule: int) -> Savings:
    """What was saved over the life of a study with a schedule of so many epochs."""
    repeats = stopped = epochs = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        trained = int(trial.user_attrs.get("epochs", schedule))
        if "duplicate_of" in trial.user_attrs:
            repeats += 1
            epochs += trained
        elif trial.state == TrialState.PRUNED:
            stopped += 1
            epochs += schedule - trained
    return Savings(repeats, stopped, epochs)
