"""The report's table of trials as plain values; the page's script sorts, filters and draws it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.report.analysis import StudyData
from nas.space.arch import Arch
from nas.study.objectives import OBJECTIVES, costs


def trial_table(data: StudyData, front_file: Path) -> dict[str, Any]:
    """Every trial that has an architecture, and what the script needs to show them.

    Args:
        data: the study.
        front_file: its `front.json`, for the commands that retrain a network.

    Returns:
        `costs`: the labels of the costs that a trial has; `accuracy`: the label of accuracies;
        `main`: the position of the cost that figures are drawn over; `rows`: one for each trial,
        with its costs as pairs of value and text, its accuracy; where it finished its estimate
        with interval and the probability that it is on the front, and on the front the command
        that retrains it.
    """
    shown = data.config.columns  # memory and flash where they count
    names = [name for name in costs() if name in shown and data.trials[name].notna().any()]
    return {
        "costs": [OBJECTIVES[name].label for name in names],
        "accuracy": data.accuracy_label,
        "main": names.index(data.cost) if data.cost in names else 0,
        "rows": [_row(row, names, data, front_file) for row in data.trials.to_dict("records")],
    }


def retrain_command(front_file: Path, arch_id: str) -> str:
    """The command that retrains a network of the front, quoted for a shell."""
    return shlex.join(["nas", "retrain", str(front_file), "--select", arch_id])


def _row(
    trial: Mapping[Any, Any], names: list[str], data: StudyData, front_file: Path
) -> dict[str, Any]:
    row = {
        "number": trial["number"],
        "id": str(trial["arch_id"]),
        "state": trial["state"],
        "costs": [_cost(name, trial[name]) for name in names],
        "epochs": None if trial["epochs"] != trial["epochs"] else int(trial["epochs"]),
        "arch": _plain(trial["arch"]),
    }
    if trial["accuracy"] == trial["accuracy"]:
        row["accuracy"] = round(trial["accuracy"], 6)
    if trial["estimate"] == trial["estimate"] and data.modelled:
        row["estimate"] = round(trial["estimate"], 6)
    if trial["interval"]:
        row["interval"] = [round(end, 6) for end in trial["interval"]]
    if trial["front_probability"] == trial["front_probability"]:
        row["onFront"] = trial["front_probability"]
    if trial["on_front"]:
        command = retrain_command(front_file, trial["arch_id"])
        row |= {"knee": trial["knee"], "retrain": command}
    return row


def _cost(name: str, value: float) -> tuple[float, str] | None:
    return (value, OBJECTIVES[name].format(value)) if value == value else None


def _plain(arch: Arch | None) -> list[Any] | None:
    """Channels of the stem, then a list for each stage."""
    if arch is None:
        return None
    return [
        arch.stem,
        *([s.repeats, s.width, s.stride, s.expansion, s.p, s.hidden] for s in arch.stages),
    ]
