"""What to do with a retrained network: load it, predict with it, export it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from nas.retrain.references import SEARCHED
from nas.training import PRESETS, Recipe
from nas.training.small_data import ADAPTED

Command = Callable[..., str]
"""A command of this program from its name and arguments, quoted for a shell."""
OPTIONS = ("epochs", "batch_size", "cutout", "mixup")  # of the command `retrain`


def plain_command(name: str, *arguments: str) -> str:
    """The command as the installed program is called."""
    return shlex.join(["nas", name, *arguments])


def recipe_options(
    recipe: Recipe,
    rates: Collection[float],
    *,
    adapted: Collection[str] = ADAPTED,
    auto_rate: bool = False,
    teacher: bool = False,
) -> list[str]:
    """Options of `retrain` that give a recipe, with the learning rates to choose from.

    Args:
        recipe: with what the options changed.
        rates: to choose from.
        adapted: fields of the recipe `full` that few images may change; others were given.
        auto_rate: whether short runs choose.
        teacher: whether the networks learn from one.
    """
    options, preset = [], PRESETS.get(recipe.name)
    if recipe.name != "full":
        options += ["--recipe", recipe.name]
    for name in OPTIONS:
        value = getattr(recipe, name)
        given = recipe.name == "full" and name in ADAPTED and name not in adapted
        if given or preset is None or value != getattr(preset, name):
            options += [f"--{name.replace('_', '-')}", f"{value:g}"]
    if rates or auto_rate:
        options += ["--learning-rate", ",".join(f"{one:g}" for one in rates) or "auto"]
    return [*options, "--teacher"] if teacher else options


def next_steps(
    summary: dict[str, Any],
    networks: Collection[str] | None = None,
    command: Command = plain_command,
) -> list[tuple[str, str]]:
    """How to load, use and export the most accurate searched network on the validation split.

    Args:
        summary: see `nas.retrain.comparison.summarise`; one of an earlier version has no steps.
        networks: names to choose among; None: all.
        command: writes a command.

    Returns:
        Pairs of a word and a line of Python or of a shell.
    """
    rows = [
        row
        for row in summary["networks"]
        if row["family"] == SEARCHED and (networks is None or row["name"] in networks)
    ]
    if not rows or "home" not in summary:
        return []
    best = max(rows, key=lambda row: float(row["val_accuracy"]))["name"]
    home = Path(summary["home"])
    folder, front = str(home / best), str(home.parent / "front.json")
    export = [front, "--select", best, *summary["options"], "--export", "onnx"]
    return [
        ("load", f'classifier = nas.load_classifier("{folder}")'),
        ("predict", command("predict", folder, "IMAGE")),
        ("export", command("retrain", *export)),
    ]
