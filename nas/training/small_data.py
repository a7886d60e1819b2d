"""The full recipe on few training images: smaller batches, more epochs, a rate that fits them.

With 240 images and batches of 128 an epoch is a single step, and 60 epochs are 60 steps: such a
network ends below the short schedule that the search trained it with.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from nas.training.recipe import Recipe

FEW_IMAGES = 2000  # training images; a recipe is adapted to fewer
STEPS_PER_EPOCH = 32  # aimed at; fewer where the smallest batch is reached
LEAST_BATCH = 16  # images: the statistics of batch norms are poor on fewer
LEAST_STEPS = 2000  # of a training
ADAPTED = ("epochs", "batch_size", "learning_rate")  # the fields that `adapt` may change


def adapt(recipe: Recipe, images: int, fields: Collection[str] = ADAPTED) -> Recipe:
    """The recipe for a data set of so many training images.

    The batch is the largest power of two, at least `LEAST_BATCH`, with `STEPS_PER_EPOCH` steps
    in an epoch, and its gradients, which are noisier, are not clipped; the learning rate shrinks
    with it (Goyal et al., arXiv 1706.02677); epochs are added up to `LEAST_STEPS` steps. From
    `FEW_IMAGES` images on the recipe stays as it is.

    Args:
        recipe: the whole schedule.
        images: of the training split.
        fields: those of `ADAPTED` that may change; a learning rate changes with the batch alone.
    """
    images = min(images, recipe.train_images or images)
    if images >= FEW_IMAGES:
        return recipe
    update: dict[str, float | None] = {}
    batch = recipe.batch_size
    if "batch_size" in fields:
        fitting = 2 ** int(math.log2(max(1, images // STEPS_PER_EPOCH)))
        batch = min(recipe.batch_size, max(LEAST_BATCH, fitting))
        update |= {"batch_size": batch, "clip_norm": None}
        if "learning_rate" in fields:
            update["learning_rate"] = recipe.learning_rate * batch / recipe.batch_size
    if "epochs" in fields:
        update["epochs"] = max(recipe.epochs, math.ceil(LEAST_STEPS / max(1, images // batch)))
    return recipe.model_copy(update=update)


def stretch(short: Recipe, epochs: int) -> Recipe:
    """The short schedule of a search for so many epochs, on all images at their own size."""
    own = {"train_images": None, "val_images": None, "image_size": None, "shrink": 1}
    return short.model_copy(update={**own, "epochs": max(epochs, short.epochs)})
