"""Short runs that choose a learning rate: the whole schedule, in a small part of its steps."""

from __future__ import annotations

from nas.training import Recipe

FACTORS = (0.5, 1.0, 2.0)  # of the recipe's rate; further ones where the best is at an end
MOST_RUNS = 5  # of a family: these, and two further ones
SHARE = 1 / 5  # of one training, for all of them
LEAST_STEPS = 100  # of a short run; the accuracies of shorter ones say little of a rate


def short_run_rates(recipe: Recipe) -> list[float]:
    """The learning rates that short runs try first, in ascending order."""
    return [float(f"{factor * recipe.learning_rate:.3g}") for factor in FACTORS]


def short_run(recipe: Recipe, images: int) -> Recipe:
    """A recipe for 1/25 of the training: fewer epochs, or a single one of a part of the images.

    The schedule has the same shape, warm-up and decay to zero included. Five short runs take a
    fifth of a training.

    Args:
        recipe: the whole training.
        images: of the training split.
    """
    images = min(images, recipe.train_images or images)
    epochs = recipe.epochs * SHARE / MOST_RUNS
    if epochs >= 1:
        return recipe.model_copy(update={"epochs": int(epochs)})
    few = max(recipe.batch_size, round(epochs * images))
    return recipe.model_copy(update={"epochs": 1, "train_images": few})


def short_run_steps(recipe: Recipe, images: int) -> int:
    """Number of steps of the short run of a recipe; see `short_run`."""
    short = short_run(recipe, images)
    images = min(images, short.train_images or images)
    return short.epochs * max(1, images // short.batch_size)
