"""A study in a few lines of text: the front as a table, and what to do next."""

from __future__ import annotations

from rich.table import Table

from nas.arch import Arch
from nas.cli import format_count
from nas.search.front import FrontMember


def front_table(members: list[FrontMember], most: int = 20) -> Table:
    """The front, cheapest first; a long one is thinned evenly, keeping ends and knee."""
    table = Table(title="Pareto front: accuracy on the validation split over FLOPs")
    for name in ("", "arch_id", "FLOPs (multiply-adds)", "params", "accuracy", "architecture"):
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for member in thin(members, most):
        attributes = member.attributes
        table.add_row(
            "knee" if member.knee else "",
            attributes["arch_id"],
            format_count(attributes["macs"]),
            format_count(attributes["params"]),
            f"{100 * attributes['accuracy']:.2f} %",
            str(Arch.from_dict(attributes["arch"])),
        )
    return table


_NUMBERS = ("FLOPs (multiply-adds)", "params", "accuracy")


def thin(members: list[FrontMember], most: int) -> list[FrontMember]:
    """At most `most` members: the ends, the knee, and others evenly in between."""
    if len(members) <= most:
        return members
    step = (len(members) - 1) / (most - 2)
    kept = {round(i * step) for i in range(most - 1)}
    kept |= {i for i, member in enumerate(members) if member.knee}
    return [members[i] for i in sorted(kept)]
