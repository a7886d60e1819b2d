"""The network whose logits the other networks of a retraining learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nas.retrain.choices import read_choices
from nas.retrain.references import SEARCHED, NetworkSpec
from nas.retrain.second_recipe import CHOICES, FOLDER
from nas.space.arch import Arch
from nas.study.front_file import FrontEntry
from nas.training import Recipe
from nas.training.pretrained import DESCRIPTION, read_description
from nas.training.recipe import stored_recipe


def choose_teacher(
    selected: Sequence[FrontEntry], networks: Sequence[NetworkSpec], home: Path, recipe: Recipe
) -> NetworkSpec | None:
    """The teacher of the networks in `home`: an earlier call's, or else the best selected one.

    The best has the highest estimated accuracy; of equal ones it is the cheapest. A teacher of an
    earlier call stays the teacher of networks that are selected later, so that several calls give
    one table.

    Args:
        selected: the networks of the front that are to be trained.
        networks: those and the references.
        home: the folder that holds the networks' folders.
        recipe: that they are trained by, whatever its learning rate.

    Returns:
        The teacher; None where no network would learn from it.
    """
    for trained in _recipes(home):
        if trained.teacher is None or _same(trained) != _same(recipe):
            continue
        try:
            arch = read_description(home / trained.teacher).arch
        except ValueError:  # damaged, or moved away
            continue
        if arch is not None:
            return NetworkSpec(trained.teacher, SEARCHED, Arch.from_dict(arch))
    best = max(selected, key=lambda entry: (entry.expected, -entry.macs))
    if len(networks) == 1:
        return None
    return next(one for one in networks if one.name == best.arch_id)


def _recipes(home: Path) -> Iterator[Recipe]:
    """Those that networks in `home` were trained by, also where a second recipe was better."""
    for path in sorted(home.glob(f"*/{DESCRIPTION}")):
        try:
            yield Recipe.model_validate(read_description(path.parent).recipe)
        except ValueError:  # damaged
            continue
    for choice in read_choices(home / FOLDER / CHOICES).values():
        if (first := stored_recipe(choice.get("first"))) is not None:
            yield first


def _same(recipe: Recipe) -> Recipe:
    """The recipe without what differs between networks of one table."""
    return recipe.model_copy(update={"learning_rate": 1.0, "teacher": None})
