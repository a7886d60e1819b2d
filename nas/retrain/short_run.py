"""Short runs that choose a learning rate: the whole schedule, in a small part of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nas.training import Recipe

FACTORS = (0.5, 1.0, 2.0)  # of the recipe's rate; further ones where the best is at an end
MOST_RUNS = 5  # of a family: these, and two further ones
SHARE = 1 / 5  # of one training, for all of them
LEAST_STEPS = 100  # of a short run; the accuracies of shorter ones say little of a rate


@dataclass(frozen=True)
class ShortRuns:
    """Trainings for 1/25 of the epochs, or of the images of one epoch.

    The schedule has the same shape, warm-up and decay to zero included. Five short runs take a
    fifth of a training. They are noisy, so another rate than the recipe's is taken only where it
    is better by more than the standard error of a difference of two accuracies.
    """

    images: int  # of the training split
    val_images: int  # whose noise an accuracy has

    def rates(self, whole: Recipe) -> list[float]:
        """The learning rates to try first, in ascending order."""
        own = whole.learning_rate  # as it is, since `best` compares with it
        return [own if factor == 1 else float(f"{factor * own:.3g}") for factor in FACTORS]

    def recipe(self, whole: Recipe) -> Recipe:
        """The recipe of a short run, from that of the whole training."""
        images = min(self.images, whole.train_images or self.images)
        epochs = whole.epochs * SHARE / MOST_RUNS
        if epochs >= 1:
            return whole.model_copy(update={"epochs": int(epochs)})
        few = max(whole.batch_size, round(epochs * images))
        return whole.model_copy(update={"epochs": 1, "train_images": few})

    def steps(self, whole: Recipe) -> int:
        """Number of steps of a short run."""
        short = self.recipe(whole)
        images = min(self.images, short.train_images or self.images)
        return short.epochs * max(1, images // short.batch_size)

    def best(self, accuracies: Mapping[float, float], own: float) -> float:
        """The rate to take.

        Args:
            accuracies: on the validation split, by rate.
            own: the recipe's rate.
        """
        best = max(sorted(accuracies), key=lambda rate: accuracies[rate])
        share = accuracies[best]
        margin = math.sqrt(2 * share * (1 - share) / self.val_images)
        return own if accuracies.get(own, 0.0) >= share - margin else best
