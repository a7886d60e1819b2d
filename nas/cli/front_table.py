"""The Pareto front as a table of text, and how much training a search has saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState
from rich import box
from rich.console import Group, JustifyMethod
from rich.table import Table

from nas.format import format_number
from nas.space.arch import Arch
from nas.study.estimate import Estimate
from nas.study.front import FrontMember
from nas.study.objectives import OBJECTIVES, Objectives, costs, percent

LEGEND = (
    "architecture: stem channels | blocks x channels of each stage, expansion by dct (dynamic "
    "clone transformer, with h hidden units) or pointwise convolution, p: expansion ratio"
)


def front_table(
    members: list[FrontMember],
    columns: Mapping[str, str],
    objectives: Objectives,
    width: int = 80,
    max_rows: int = 20,
) -> Group:
    """The front, the cheapest network first: figures in a line each, then the architectures.

    Costs that are no objectives are left out where the line would not fit.

    Args:
        members: of the front, by cost.
        columns: the objectives to show, with their labels, as `StudyConfig.columns`.
        objectives: of the study.
        width: columns of the terminal.
        max_rows: a longer front is reduced by `subsample`.
    """
    rows = subsample(members, max_rows)
    title = f"Pareto front, {format_number(len(members), 'network')}"
    title += f", {len(rows)} shown" if len(rows) < len(members) else ""
    estimates = [member.estimate for member in rows]
    texts = {
        "arch_id": [str(member.attributes["arch_id"]) for member in rows],
        columns["accuracy"].replace(" ", "\n"): [
            percent(member.attributes["accuracy"]) for member in rows
        ],
        "estimate": [percent(member.expected) for member in rows],
        "95 %\ninterval": [interval_text(estimate) for estimate in estimates],
        "on\nfront": [front_text(estimate) for estimate in estimates],
    }
    names = [name for name in costs() if name in columns]
    names = [name for name in names if all(name in member.attributes for member in rows)]
    for name in sorted(names, key=lambda name: name not in objectives.names):
        short = columns[name].partition(" ")[0].replace("parameters", "para-\nmeters")
        cells = [OBJECTIVES[name].format(member.attributes[name]) for member in rows]
        if name in objectives.names or _width(texts | {short: cells}) <= width:
            texts[short] = cells
    figures = _table(title, _caption(members))
    for header in texts:
        justify: JustifyMethod = "left" if header == "arch_id" else "right"
        figures.add_column(header, justify=justify, no_wrap=True, vertical="bottom")
    archs = _table("", LEGEND)
    archs.add_column("arch_id", no_wrap=True)
    archs.add_column("architecture", overflow="fold")
    for member, line in zip(rows, zip(*texts.values(), strict=True), strict=True):
        style = "bold" if member.knee else ""
        figures.add_row(*line, style=style)
        arch = str(Arch.from_dict(member.attributes["arch"]))
        archs.add_row(str(member.attributes["arch_id"]), arch, style=style)
    return Group(figures, archs)


def interval_text(estimate: Estimate | None) -> str:
    """The interval of an estimate in per cent, as short as can be; a dash without one."""
    if estimate is None or estimate.interval is None:
        return "-"
    low, high = (f"{100 * end:.1f}" for end in estimate.interval)
    return f"{low}-{high}"


def front_text(estimate: Estimate | None) -> str:
    """The probability of being on the front in per cent; a dash without one."""
    return (
        "-" if estimate is None or estimate.on_front is None else f"{100 * estimate.on_front:.0f} %"
    )


def _caption(members: Sequence[FrontMember]) -> str:
    """What the figures of a front's table are."""
    parts = [
        f"knee, the network at the end of the last steep step: {member.attributes['arch_id']}."
        for member in members
        if member.knee
    ]
    if any(member.estimate is not None and member.estimate.modelled for member in members):
        parts.append(
            "accuracy: measured once, on the validation split; estimate: from all trials, "
            "corrected for the selection of high measurements; on front: probability that no "
            "finished trial dominates it."
        )
    else:
        parts.append("estimate: the measurement, as there are too few trials for a model.")
    return " ".join([*parts, "FLOPs: multiply-adds."])


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """The width of a table: its columns, two blanks between them, one at each end."""
    widths = [max(map(len, [*header.split("\n"), *cells])) for header, cells in columns.items()]
    return sum(widths) + 2 * len(widths)


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def add_networks(
    table: Table,
    title: str,
    label: Callable[[FrontMember], str],
    members: list[FrontMember],
    columns: Mapping[str, str],
) -> None:
    """Add columns and rows of networks; the first column has this title and these labels.

    An architecture that does not fit is truncated.
    """
    names = [name for name in columns if members and all(name in m.attributes for m in members)]
    table.add_column(title, no_wrap=True)
    for name in names:
        title = columns[name].replace(" (", "\n(")  # leaves room for the architecture
        title = title.replace(" accuracy", "\naccuracy")  # of another kind, such as balanced
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("architecture", no_wrap=True, overflow="ellipsis", ratio=1)
    for member in members:
        attributes = member.attributes
        table.add_row(
            label(member),
            *(OBJECTIVES[name].format(attributes[name]) for name in names),
            str(Arch.from_dict(attributes["arch"])),
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
