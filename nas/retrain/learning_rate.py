"""The learning rate of each family of networks, chosen on the validation split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.data import DatasetInfo
from nas.models.reference import REFERENCES
from nas.retrain.choices import keep_choice, read_choices
from nas.retrain.references import NetworkSpec
from nas.retrain.short_run import ShortRuns
from nas.training import Recipe
from nas.training.folder import LOCK, locked
from nas.training.pretrained import DESCRIPTION, read_description
from nas.training.recipe import stored_recipe

MAX_FURTHER = 2  # rates tried beyond those that the user gave
LEAST_GRID = 3  # rates; of fewer the best is always the least or the greatest
MAX_RATE = 100.0  # that a recipe accepts
FOLDER, CHOICES = "learning-rates", "choices.json"
SHORT_RUNS = "short-runs"  # in that folder

Validate = Callable[[Sequence[tuple[NetworkSpec, Recipe, Path]]], list[float | None]]
"""Trains networks, each by a recipe in a folder: their accuracies on the validation split.

0 stands for a training that diverged, None for one that failed and may succeed another time.
"""


def choose_rates(
    networks: Sequence[NetworkSpec],
    recipes: Mapping[str, Recipe],
    rates: Sequence[float],
    home: Path,
    info: DatasetInfo,
    validate: Validate,
    short: ShortRuns | None = None,
) -> dict[str, Recipe]:
    """The recipe of each family, with the one of `rates` that suits it best.

    The family's network of median cost is trained in full at each rate, with seed 0; the best
    accuracy on the validation split wins, the lower rate on a tie. That training is then the
    network's own: it goes to the network's folder in `home`, so that `rates` of length k cost k -
    1 trainings more a family. Where the best of three or more is the least or the greatest, a
    further one beyond it is tried, up to `MAX_FURTHER` of them. Networks that were trained before
    at another one of the rates are set aside in `learning-rates/`, where they are found again.
    What was chosen is kept in `learning-rates/choices.json` and not chosen again.

    With `short`, short runs decide: see `nas.retrain.short_run`. They are no training of a
    network's own.

    Args:
        networks: all networks that are to be trained.
        recipes: of each family; without any `rates` they stay as they are.
        rates: to choose from; one alone is taken as it is.
        home: the folder that holds the networks' folders.
        info: the data set.
        validate: trains.
        short: short runs choose, at rates of their own; None: whole trainings.

    Returns:
        Recipes by family, without those of which a training failed, so that none was chosen.
    """
    families = list(dict.fromkeys(spec.family for spec in networks))
    if not rates and short is None:
        return {family: recipes[family] for family in families}
    if len(rates) == 1:
        return {family: _at(recipes[family], rates[0]) for family in families}
    path = home / FOLDER / CHOICES
    stored = read_choices(path)
    grids = {
        family: sorted(rates) if short is None else short.rates(recipes[family])
        for family in families
    }
    asked = {
        family: {
            "rates": grids[family],
            "by": "trainings" if short is None else "short runs",
            "recipe": _at(recipes[family], 1.0).model_dump(mode="json"),
        }
        for family in families
    }
    to_choose = {
        family: _median(networks, family, info)
        for family in families
        if {key: _choice(stored, family).get(key) for key in asked[family]} != asked[family]
    }
    moved = {
        family: _set_aside(network, recipes[family], home) if short is None else None
        for family, network in to_choose.items()
    }
    chosen = {family: stored[family] for family in families if family not in to_choose}
    for family, choice in _try_rates(to_choose, recipes, grids, home, validate, short):
        chosen[family] = asked[family] | choice
        keep_choice(path, family, chosen[family])
    for family, aside in moved.items():
        own = home / to_choose[family].name
        if family not in chosen and aside is not None and not own.exists():
            aside.rename(own)
    for one in networks:
        if one.family in chosen:
            _move_to_rate(one, recipes[one.family], chosen[one.family]["rate"], home)
    return {family: _at(recipes[family], chosen[family]["rate"]) for family in chosen}


def _try_rates(
    networks: Mapping[str, NetworkSpec],
    recipes: Mapping[str, Recipe],
    grids: Mapping[str, Sequence[float]],
    home: Path,
    validate: Validate,
    short: ShortRuns | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Validate the network of each family at the rates of its grid, then at rates beyond it.

    Yields:
        Each family as soon as its rate is chosen, with what `choices.json` says of that; none of
        which a training failed.
    """
    accuracies: dict[str, dict[float, float]] = {family: {} for family in networks}
    to_try = {family: grids[family] for family in networks}
    while to_try:
        tried = [(family, rate) for family in to_try for rate in to_try[family]]
        validated = validate(
            [_try(networks[f], _at(recipes[f], rate), home, short) for f, rate in tried]
        )
        failed = set()
        for (family, rate), accuracy in zip(tried, validated, strict=True):
            if accuracy is None:
                failed.add(family)
            else:
                accuracies[family][rate] = accuracy
        beyond: dict[str, Sequence[float]] = {}
        for family in (one for one in to_try if one not in failed):
            by_rate = accuracies[family]
            own = recipes[family].learning_rate
            best = _best(by_rate) if short is None else short.best(by_rate, own)
            further = _beyond(by_rate, best, len(grids[family]))
            if further is not None:
                beyond[family] = [further]
                continue
            choice = {
                "network": networks[family].name,
                "val_accuracy": {f"{r:g}": a for r, a in sorted(by_rate.items())},
                "rate": best,
            }
            yield family, choice
        to_try = beyond


def chosen_rate(home: Path, family: str) -> float | None:
    """The learning rate that was chosen for a family before; None where none was."""
    recorded = read_choices(home / FOLDER / CHOICES).get(family, {}).get("rate")
    return None if recorded is None else float(recorded)


def _try(
    spec: NetworkSpec, recipe: Recipe, home: Path, short: ShortRuns | None
) -> tuple[NetworkSpec, Recipe, Path]:
    """What is trained to try a rate, and where."""
    folder = _aside(spec, recipe.learning_rate, home)
    if short is None:
        return spec, recipe, folder
    brief = short.recipe(recipe)
    images = f"-{brief.train_images}-images" if brief.train_images else ""
    name = f"{folder.name}-{brief.epochs}-epochs{images}"
    return spec, brief, folder.parent / SHORT_RUNS / name


def rate_folders(
    spec: NetworkSpec, recipe: Recipe, rates: Sequence[float], home: Path, short: ShortRuns | None
) -> list[tuple[Path, Recipe]]:
    """Where a network may have been trained at each of several rates, and by which recipe."""
    if short is not None:
        rates = short.rates(recipe)
    elif len(rates) < 2:
        return []
    tries = (_try(spec, _at(recipe, rate), home, short) for rate in rates)
    return [(folder, tried) for _, tried, folder in tries]


def _choice(choices: Mapping[str, Any], family: str) -> dict[str, Any]:
    """What was chosen for a family; fields that an earlier version did not write are filled in."""
    choice: dict[str, Any] = {"by": "trainings", **choices.get(family, {})}
    if isinstance(choice.get("recipe"), dict):
        recipe = stored_recipe(choice["recipe"] | {"learning_rate": 1.0})
        choice["recipe"] = recipe and recipe.model_dump(mode="json")
    return choice


def _best(accuracies: Mapping[float, float]) -> float:
    return max(sorted(accuracies), key=lambda rate: accuracies[rate])


def _beyond(accuracies: Mapping[float, float], best: float, asked: int) -> float | None:
    """A rate as far beyond the best one as that is from its neighbour; None: no more is needed.

    Args:
        accuracies: by rate, of all rates tried.
        best: the best of these rates.
        asked: number of rates that the user gave.
    """
    rates = sorted(accuracies)
    if asked < LEAST_GRID or len(rates) >= asked + MAX_FURTHER:
        return None
    if best not in (rates[0], rates[-1]):
        return None
    neighbour = rates[1] if best == rates[0] else rates[-2]
    further = float(f"{best * best / neighbour:.3g}")
    return further if further <= MAX_RATE else None


def own_recipe(family: str, recipe: Recipe) -> Recipe:
    """The recipe with the family's own learning rate, where `REFERENCES` gives it one."""
    rate = REFERENCES[family].learning_rate if family in REFERENCES else None
    return recipe if rate is None else _at(recipe, rate)


def _aside(spec: NetworkSpec, rate: float, home: Path) -> Path:
    """The folder of a network trained at a rate that is not the chosen one."""
    return home / FOLDER / f"{spec.name}-{rate:g}"


def _trained_at(folder: Path, recipe: Recipe) -> float | None:
    """The learning rate of the network in a folder; None where none was trained by the recipe.

    A network may have been trained by a second recipe, whose rate is no choice of these.
    """
    if not (folder / DESCRIPTION).exists():
        return None
    trained = Recipe.model_validate(read_description(folder).recipe)
    same = _at(trained, 1.0).model_copy(update={"teacher": None}) == _at(recipe, 1.0)
    return trained.learning_rate if same else None


def _set_aside(spec: NetworkSpec, recipe: Recipe, home: Path) -> Path | None:
    """Move a network out of its folder, unless one of its rate was set aside before; where to."""
    rate = _trained_at(home / spec.name, recipe)
    if rate is None or (aside := _aside(spec, rate, home)).exists():
        return None
    aside.parent.mkdir(parents=True, exist_ok=True)
    (home / spec.name).rename(aside)
    return aside


def _move_to_rate(spec: NetworkSpec, recipe: Recipe, rate: float, home: Path) -> None:
    """Set aside a network's training at another rate; the one at this rate takes its place."""
    if _trained_at(home / spec.name, recipe) not in (None, rate):
        _set_aside(spec, recipe, home)
    own, aside = home / spec.name, _aside(spec, rate, home)
    if aside.exists() and own.exists() and {file.name for file in own.iterdir()} <= {LOCK}:
        with locked(own):  # a training was interrupted in its first epoch
            shutil.rmtree(own)
    if aside.exists() and not own.exists():
        aside.rename(own)


def _median(networks: Sequence[NetworkSpec], family: str, info: DatasetInfo) -> NetworkSpec:
    members = (one for one in networks if one.family == family)
    by_cost = sorted(members, key=lambda one: one.macs(info))
    return by_cost[(len(by_cost) - 1) // 2]


def _at(recipe: Recipe, rate: float) -> Recipe:
    return recipe.model_copy(update={"learning_rate": rate})
