"""A second training of networks that end below the accuracy of their short schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.files import write_json
from nas.format import format_number
from nas.retrain.learning_rate import Validate, read_choices
from nas.retrain.references import NetworkSpec
from nas.study.objectives import percent
from nas.training import Recipe
from nas.training.recipe import stored_recipe

FOLDER, CHOICES = "second-recipe", "choices.json"


def train_again(
    networks: Sequence[NetworkSpec],
    recipes: Mapping[str, Recipe],
    second: Recipe,
    short: Mapping[str, float],
    home: Path,
    validate: Validate,
) -> dict[str, Recipe]:
    """The recipe of each network: its first, or `second` where that is better.

    Each network is trained with seed 0. One that ends below its short schedule's accuracy on
    the same validation split is trained again by `second`, in `second-recipe/NAME/`; the better
    of the two trainings is the network's own, in `home/NAME/`, and the other is kept in
    `second-recipe/`. What was chosen is in `second-recipe/choices.json` and not chosen again.

    Args:
        networks: all that are to be trained.
        recipes: the first recipe of each, by name.
        second: the other recipe.
        short: accuracy of the short schedule in [0, 1], by name; networks without it are left out.
        home: the folder that holds the networks' folders.
        validate: trains; 0 stands for a training that failed.
    """
    known = [one for one in networks if one.name in short]
    choices = read_choices(home / FOLDER / CHOICES)
    asked = {one.name: {"first": recipes[one.name], "second": second} for one in known}
    for one in known:
        stored = choices.get(one.name, {})
        if any(stored_recipe(stored.get(key)) != recipe for key, recipe in asked[one.name].items()):
            choices.pop(one.name, None)
    new = [one for one in known if one.name not in choices]
    firsts = validate([(one, recipes[one.name], home / one.name) for one in new])
    below = [
        (one, first)
        for one, first in zip(new, firsts, strict=True)
        if first < short[one.name] and recipes[one.name] != second
    ]
    seconds = validate([(one, second, home / FOLDER / one.name) for one, _ in below])
    for (one, first), accuracy in zip(below, seconds, strict=True):
        choices[one.name] = {
            **{key: recipe.model_dump(mode="json") for key, recipe in asked[one.name].items()},
            "short_accuracy": short[one.name],
            "val_accuracy": {"first": first, "second": accuracy},
            "chosen": "second" if accuracy > first else "first",
        }
        write_json(home / FOLDER / CHOICES, choices)
    chosen = dict(recipes)
    for one in known:
        if choices.get(one.name, {}).get("chosen") == "second":
            chosen[one.name] = second
            _exchange(home, one.name)
    return chosen


def describe_second_trainings(home: Path) -> list[str]:
    """A sentence for each network that was trained twice."""
    sentences = []
    for name, choice in sorted(read_choices(home / FOLDER / CHOICES).items()):
        first, second = (_name(choice[key]) for key in ("first", "second"))
        accuracies = choice["val_accuracy"]
        other = "-first" if choice["chosen"] == "second" else ""
        sentences.append(
            f"{name} ended at {percent(accuracies['first'])} on the validation split by {first}, "
            f"below the {percent(choice['short_accuracy'])} of its short schedule, and was trained "
            f"again by {second}: {percent(accuracies['second'])}. The better one stays; the "
            f"other is in {FOLDER}/{name}{other}."
        )
    return sentences


def _exchange(home: Path, name: str) -> None:
    """Put the second training in the place of the first; a killed exchange goes on."""
    own, aside = home / name, home / FOLDER / name
    if not aside.exists():
        return  # exchanged before
    if own.exists():
        own.rename(aside.with_name(f"{name}-first"))
    aside.rename(own)


def _name(recipe: dict[str, Any]) -> str:
    return f"the recipe {recipe['name']}, {format_number(recipe['epochs'], 'epoch')}"
