"""The Pareto front as a table of text, and how much training a search has saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState
from rich import box
from rich.table import Table

from nas.space.arch import Arch
from nas.study.front import FrontMember
from nas.study.objectives import OBJECTIVES

LEGEND = (
    "architecture: stem channels | blocks x channels of each stage, expansion by dct (dynamic "
    "clone transformer, with h hidden units) or pointwise convolution, p: expansion ratio"
)


def front_table(
    members: list[FrontMember], columns: Mapping[str, str], max_rows: int = 20
) -> Table:
    """The front as a table, the cheapest network first; architectures wrap where they must.

    Args:
        members: of the front, by cost.
        columns: the objectives to show, with their labels, as `StudyConfig.columns`.
        max_rows: a longer front is reduced by `subsample`.
    """
    rows = subsample(members, max_rows)
    title = f"Pareto front, {len(members)} networks"
    table = Table(
        title=title + (f", {len(rows)} shown" if len(rows) < len(members) else ""),
        title_justify="left",
        title_style="bold",
        caption=LEGEND,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    add_networks(
        table,
        "arch_id",
        lambda member: str(member.attributes["arch_id"]),
        rows,
        columns,
        wrap=True,
    )
    return table


def add_networks(
    table: Table,
    title: str,
    label: Callable[[FrontMember], str],
    members: list[FrontMember],
    columns: Mapping[str, str],
    *,
    wrap: bool = False,
) -> None:
    """Add columns and rows of networks; the first column has this title and these labels.

    An architecture that does not fit is truncated, or with `wrap` continued on further lines.
    """
    names = [name for name in columns if members and all(name in m.attributes for m in members)]
    table.add_column(title, no_wrap=True)
    for name in names:
        title = columns[name].replace(" (", "\n(")  # leaves room for the architecture
        title = title.replace("balanced ", "balanced\n")
        table.add_column(title, justify="right", no_wrap=not wrap)
    if wrap:
        table.add_column("architecture", overflow="fold")
    else:
        table.add_column("architecture", no_wrap=True, overflow="ellipsis", ratio=1)
    for member in members:
        attributes = member.attributes
        table.add_row(
            label(member),
            *(OBJECTIVES[name].format(attributes[name]) for name in names),
            ("knee: " if member.knee else "") + str(Arch.from_dict(attributes["arch"])),
            style="bold" if member.knee else "",
        )


def subsample(members: list[FrontMember], max_rows: int) -> list[FrontMember]:
    """At most `max_rows` members: both ends, the knee, and the rest evenly spaced by rank."""
    if len(members) <= max_rows:
        return members
    step = (len(members) - 1) / (max_rows - 2)
    kept = {round(i * step) for i in range(max_rows - 1)}
    kept |= {i for i, member in enumerate(members) if member.knee}
    return [members[i] for i in sorted(kept)]


@dataclass(frozen=True)
class Savings:
    """Training that a study did not have to do."""

    repeats: int  # suggestions of an architecture whose result the study already held
    stopped: int  # networks that were stopped early
    epochs: int  # that were not trained, for either reason


def savings(study: optuna.Study, schedule: int) -> Savings:
    """What a study has saved since it was created; `schedule` is the epochs of a full training."""
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
