"""The recipe that each network is trained by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from nas.data import DatasetInfo
from nas.format import format_number
from nas.retrain.learning_rate import (
    Validate,
    choose_rates,
    chosen_rate,
    own_recipe,
    rate_folders,
)
from nas.retrain.references import NetworkSpec
from nas.retrain.second_recipe import FOLDER as SECOND
from nas.retrain.second_recipe import chosen_before, train_again
from nas.retrain.short_run import LEAST_STEPS, ShortRuns
from nas.study.front_file import FrontFile
from nas.training import Recipe
from nas.training.small_data import FEW_IMAGES, adapt, stretch


def second_recipe(
    recipe: Recipe, adapted: Collection[str], searched: Recipe, images: int
) -> Recipe | None:
    """The recipe that networks below their short schedule are trained again by, or None.

    A recipe of the user's is taken as it is, also where it ends below the short schedule.

    Args:
        recipe: the first one, adapted to few images.
        adapted: fields of it that few images may change.
        searched: of the short schedule.
        images: of the training split.
    """
    free = {"batch_size", "learning_rate"} <= {*adapted}
    again = images < FEW_IMAGES and free and recipe.epochs >= searched.epochs
    return stretch(searched, recipe.epochs) if again else None


class NetworkRecipes:
    """The recipes that networks are trained by: of their family, adapted to few images.

    Args:
        recipe: asked for.
        rates: learning rates that each family chooses from; none: its own.
        adapted: fields of the recipe that few images may change.
        front: of the study.
        images: of the training split.
        networks: all that are to be trained.
        teacher: name of the network that the others learn from; None: labels alone.
        short: runs that choose the learning rate of each family; None: the rates above.
    """

    def __init__(
        self,
        recipe: Recipe,
        rates: Sequence[float],
        adapted: Collection[str],
        front: FrontFile,
        images: int,
        networks: Sequence[NetworkSpec],
        teacher: str | None = None,
        short: ShortRuns | None = None,
    ) -> None:
        self._asked, self._rates, self._images = recipe, rates, images
        self._networks, self._teacher = networks, teacher
        self._plain = adapt(recipe, images, adapted)
        self._steps = LEAST_STEPS if short is None else short.steps(self._plain)
        self._short_runs = short if self._steps >= LEAST_STEPS else None
        self._own = {
            one.family: adapt(own_recipe(one.family, recipe), images, adapted) for one in networks
        }
        searched = Recipe.model_validate(front.recipe)
        self._second = second_recipe(self._plain, adapted, searched, images)
        self._short = {entry.arch_id: entry.accuracy for entry in front.architectures}

    @property
    def compared(self) -> list[Recipe]:
        """Those whose networks are in one table, whatever their learning rate."""
        plain = self._plain
        taught = [plain.model_copy(update={"teacher": self._teacher})] if self._teacher else []
        return [plain, *taught, *([self._second] if self._second else [])]

    def notes(self) -> list[str]:
        """What the number of images changed, in words."""
        asked, plain = self._asked, self._plain
        notes = []
        if self._steps < LEAST_STEPS:
            notes.append(
                f"--learning-rate auto: a short run of {format_number(self._steps, 'step')} would "
                f"say little; the recipe's rate stays (at least {LEAST_STEPS} steps are needed)."
            )
        if plain == asked:
            return notes
        changes = [
            f"{text} in the place of {before:g}"
            for text, now, before in (
                (f"batches of {plain.batch_size}", plain.batch_size, asked.batch_size),
                (
                    f"learning rate {plain.learning_rate:g}",
                    plain.learning_rate,
                    asked.learning_rate,
                ),
                (format_number(plain.epochs, "epoch"), plain.epochs, asked.epochs),
            )
            if now != before
        ]
        if plain.clip_norm != asked.clip_norm:
            changes.append("gradients are not clipped")
        few = f"{self._images:,} training images are few for the recipe {asked.name}"
        return [*notes, f"{few}: {', '.join(changes)}."]

    def accepted(self, network: NetworkSpec, home: Path) -> list[Recipe]:
        """Every recipe that a network may have been trained by earlier, the first one first."""
        own = self._taught(network, self._own[network.family])
        rates = self._rates or (own.learning_rate,)
        if self._short_runs is not None:
            rates = self._short_runs.rates(own)
        chosen = chosen_rate(home, network.family)  # may lie beyond those
        rates = (*rates, *([chosen] if chosen is not None and len(rates) > 1 else []))
        first = [own.model_copy(update={"learning_rate": rate}) for rate in rates]
        if self._second and chosen_before(network.name, first, self._second, home) == "second":
            return [*first, self._second]
        return first

    def aside(self, network: NetworkSpec, home: Path) -> list[tuple[Path, Recipe]]:
        """Folders beside a network's own that its trainings may go on from, with their recipes."""
        own = self._own[network.family]
        folders = rate_folders(network, own, self._rates, home, self._short_runs)
        if self._second is not None:
            folders.append((home / SECOND / network.name, self._second))
        return folders

    def choose_rates(self, home: Path, info: DatasetInfo, validate: Validate) -> dict[str, Recipe]:
        """The recipe of each family with its learning rate; may train networks to decide.

        A family is missing where one of these trainings failed.
        """
        return choose_rates(
            *(self._networks, self._own, self._rates, home, info, validate), self._short_runs
        )

    def choose(
        self,
        networks: Sequence[NetworkSpec],
        families: dict[str, Recipe],
        home: Path,
        validate: Validate,
    ) -> dict[str, Recipe]:
        """The recipe of each of the networks, by name; may train networks to decide.

        Args:
            networks: some of all; the result has those alone whose trainings did not fail.
            families: see `choose_rates`.
            home: the folder that holds the networks' folders.
            validate: trains.
        """
        first = {one.name: self._taught(one, families[one.family]) for one in networks}
        if self._second is None:
            return first
        return train_again(networks, first, self._second, self._short, home, validate)

    def _taught(self, network: NetworkSpec, recipe: Recipe) -> Recipe:
        teacher = None if network.name == self._teacher else self._teacher
        return recipe.model_copy(update={"teacher": teacher})
