"""The learning rate of each family of networks, chosen on the validation split."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nas.data import DatasetInfo
from nas.files import write_atomic, write_json
from nas.report.references import Contender
from nas.training import Recipe
from nas.training.retrain import CHECKPOINT

FOLDER, CHOICES = "learning-rates", "choices.json"

Validate = Callable[[Sequence[tuple[Contender, Recipe, Path]]], list[float]]
"""Trains contenders, each by a recipe in a folder: their accuracies on the validation split."""


def choose_rates(
    contenders: Sequence[Contender],
    recipe: Recipe,
    rates: Sequence[float],
    home: Path,
    info: DatasetInfo,
    validate: Validate,
) -> dict[str, Recipe]:
    """The recipe of each family, with the one of `rates` that suits it best.

    The family's network of median cost is trained in full at each rate, with seed 0; the
    best accuracy on the validation split wins, the lower rate on a tie. That training is
    then the network's own: its checkpoint goes to its folder in `home`, so that `rates` of
    length k cost k - 1 trainings more a family. What was chosen is kept in
    `learning-rates/choices.json` and not chosen again.

    Args:
        contenders: all networks that are to be trained.
        recipe: its learning rate is replaced.
        rates: to choose from; one alone is taken as it is.
        home: the folder that holds the networks' folders.
        info: the data set.
        validate: trains; 0 stands for a training that diverged.
    """
    families = list(dict.fromkeys(contender.family for contender in contenders))
    if len(rates) == 1:
        return dict.fromkeys(families, _at(recipe, rates[0]))
    path = home / FOLDER / CHOICES
    choices: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    asked = {"rates": sorted(rates), "recipe": recipe.model_dump(exclude={"learning_rate"})}
    trainings: dict[tuple[str, float], tuple[Contender, Recipe, Path]] = {}
    for family in families:
        if all(choices.get(family, {}).get(key) == value for key, value in asked.items()):
            continue
        network = _median(contenders, family, info)
        for rate in sorted(rates):
            folder = home / FOLDER / f"{network.name}-{rate:g}"
            trainings[family, rate] = (network, _at(recipe, rate), folder)
    found = dict(zip(trainings, validate(list(trainings.values())), strict=True))
    for family in dict.fromkeys(family for family, _ in trainings):
        best = max(sorted(rates), key=lambda rate: found[family, rate])
        network, _, folder = trainings[family, best]
        if not (home / network.name).exists() and (folder / CHECKPOINT).exists():
            write_atomic(home / network.name / CHECKPOINT, (folder / CHECKPOINT).read_bytes())
        choices[family] = asked | {
            "network": network.name,
            "val_accuracy": {f"{rate:g}": found[family, rate] for rate in sorted(rates)},
            "rate": best,
        }
        write_json(path, choices)
    return {family: _at(recipe, choices[family]["rate"]) for family in families}


def _median(contenders: Sequence[Contender], family: str, info: DatasetInfo) -> Contender:
    members = (one for one in contenders if one.family == family)
    by_cost = sorted(members, key=lambda one: one.macs(info))
    return by_cost[(len(by_cost) - 1) // 2]


def _at(recipe: Recipe, rate: float) -> Recipe:
    return recipe.model_copy(update={"learning_rate": rate})
