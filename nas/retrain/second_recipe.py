"""A second training of networks that end below the accuracy of their short schedule."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from nas.format import format_number
from nas.retrain.choices import keep_choice, read_choices
from nas.retrain.learning_rate import Validate
from nas.retrain.references import NetworkSpec
from nas.study.objectives import percent
from nas.training import Recipe
from nas.training.pretrained import DESCRIPTION, read_description
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
        validate: trains.

    Returns:
        Recipes by name, without the networks whose training failed.
    """
    known, path = [one for one in networks if one.name in short], home / FOLDER / CHOICES
    before = {one.name: chosen_before(one.name, [recipes[one.name]], second, home) for one in known}
    better = {name for name, choice in before.items() if choice == "second"}
    new = [one for one in known if before[one.name] is None]
    for one in new:
        keep_choice(path, one.name, None)  # between other recipes
        _give_back(home, one.name, recipes[one.name], second)
    firsts = validate([(one, recipes[one.name], home / one.name) for one in new])
    lost = {one.name for one, first in zip(new, firsts, strict=True) if first is None}
    below = [
        (one, first)
        for one, first in zip(new, firsts, strict=True)
        if first is not None and first < short[one.name] and recipes[one.name] != second
    ]
    seconds = validate([(one, second, home / FOLDER / one.name) for one, _ in below])
    for (one, first), accuracy in zip(below, seconds, strict=True):
        if accuracy is None:
            continue  # it is tried again by the next call
        choice = {
            "first": recipes[one.name].model_dump(mode="json"),
            "second": second.model_dump(mode="json"),
            "short_accuracy": short[one.name],
            "val_accuracy": {"first": first, "second": accuracy},
            "chosen": "second" if accuracy > first else "first",
        }
        keep_choice(path, one.name, choice)
        if choice["chosen"] == "second":
            better.add(one.name)
    for name in better:
        _exchange(home, name)
    chosen = {**recipes, **dict.fromkeys(better, second)}
    return {name: recipe for name, recipe in chosen.items() if name not in lost}


def chosen_before(
    name: str, firsts: Sequence[Recipe], second: Recipe, home: Path
) -> Literal["first", "second"] | None:
    """Which recipe an earlier call chose for a network; None where it chose between others."""
    choice = read_choices(home / FOLDER / CHOICES).get(name, {})
    same = stored_recipe(choice.get("first")) in firsts
    same &= stored_recipe(choice.get("second")) == second
    return choice["chosen"] if same else None


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


def _give_back(home: Path, name: str, first: Recipe, second: Recipe) -> None:
    """Move a network by the second recipe out of the place of one by another first recipe."""
    own, aside = home / name, home / FOLDER / name
    if first == second or aside.exists() or not (own / DESCRIPTION).exists():
        return
    if stored_recipe(read_description(own).recipe) == second:
        aside.parent.mkdir(parents=True, exist_ok=True)
        own.rename(aside)


def _exchange(home: Path, name: str) -> None:
    """Put the second training in the place of the first; a killed exchange goes on."""
    own, aside = home / name, home / FOLDER / name
    if not aside.exists():
        return  # exchanged before
    if own.exists():
        first = aside.with_name(f"{name}-first")
        if first.exists():  # of an earlier network, which was moved away since
            numbers = itertools.count(2)
            names = (first.with_name(f"{first.name}-{number}") for number in numbers)
            first.rename(next(one for one in names if not one.exists()))
        own.rename(first)
    aside.rename(own)


def _name(recipe: dict[str, Any]) -> str:
    return f"the recipe {recipe['name']}, {format_number(recipe['epochs'], 'epoch')}"
