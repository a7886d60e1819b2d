"""The output of `status`: a few lines for each study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from nas.format import format_count, format_number
from nas.study.objectives import accuracy_label
from nas.study.status import StudyStatus


def show_status(statuses: Sequence[StudyStatus]) -> None:
    """Print each study as a few lines."""
    # Without markup: names, paths and errors may hold brackets.
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for status in statuses:
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, text in _lines(status):
            table.add_row(f"  {name}", text)
        console.print(status.study, style="bold")
        console.print(table)


def status_json(status: StudyStatus) -> dict[str, Any]:
    """A status as plain values."""
    return asdict(status)


def _lines(status: StudyStatus) -> list[tuple[str, str]]:
    if status.problem is not None:
        return [("problem", status.problem)]
    trials = ", ".join(f"{times} {state}" for state, times in status.states.items()) or "none"
    if status.repeats:
        trials += (
            f", {format_number(status.repeats, 'repeated suggestion')} answered from the study"
        )
    lines = [("architectures", str(status.counted)), ("trials", trials)]
    if status.reasons:
        reasons = (f"{times} {reason}" for reason, times in status.reasons.items())
        lines.append(("failures", "; ".join(reasons)))
    lines.append(("front", format_number(status.front, "network")))
    label = accuracy_label(status.metric, status.quantized)
    kind = "" if label == "accuracy" else f" {label}"
    lines += [
        (
            point["why"],
            f"{point['arch_id']}  {100 * point['estimate']:.2f} %{kind} (estimate)  "
            f"{format_count(point['macs'])} FLOPs (multiply-adds)",
        )
        for point in status.best
    ]
    lines.append(("last activity", status.last_activity or "none"))
    lines.append(("lock", status.owner or "free"))
    if status.left_running:
        lines.append(
            (
                "abandoned",
                f"{format_number(status.left_running, 'running trial')}, queued again by --repair",
            )
        )
    return lines
