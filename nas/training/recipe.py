"""Recipes: the schedule and the hyperparameters of a training."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nas.data.splits import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, Split

_Images = Annotated[int, Field(strict=True, ge=1)]


class Recipe(BaseModel):
    """A training by SGD with Nesterov momentum and a one-cycle learning rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    epochs: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    batch_size: Annotated[int, Field(strict=True, ge=2, le=65_536)]  # images
    learning_rate: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]  # peak
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2  # share of the steps before the peak
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4  # norms and biases have none
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest norm of the whole gradient; a longer one is scaled down to it. None: no clipping."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # side of the masked square / image's side
    mixup: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.0  # Beta's alpha; 0: off
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay per step; None: no averaging
    train_images: _Images | None = None  # size of a stratified subset, at most; None: all
    val_images: _Images | None = None  # the same for the validation split
    image_size: Annotated[int, Field(strict=True, ge=MIN_IMAGE_SIZE, le=MAX_IMAGE_SIZE)] | None = (
        None
    )
    """Side in pixels to which larger images are shrunk for training. Costs are always counted
    at the data set's own size."""
    shrink: Annotated[int, Field(strict=True, ge=1, le=MAX_IMAGE_SIZE)] = 1
    """Factor by which the side of the images is divided for training."""
    teacher: Annotated[str, Field(pattern=r"^[\w.-]{1,100}$")] | None = None
    """Name of the network whose logits are learned from beside the labels; None: labels alone."""
    metric: Literal["accuracy", "balanced-accuracy"] = "accuracy"
    """What accuracy means: over all images, or the mean of the classes' own accuracies, for which
    the loss weights every class by the inverse of its number of training images."""

    @property
    def balanced(self) -> bool:
        """Whether classes count alike, whatever their size."""
        return self.metric == "balanced-accuracy"

    def trained_size(self, image_size: int) -> int:
        """Side, in pixels, at which images of `image_size` x `image_size` pixels are trained."""
        most = self.image_size or MAX_IMAGE_SIZE
        return min(image_size, most, max(MIN_IMAGE_SIZE, image_size // self.shrink))

    def size_note(self, image_size: int) -> str:
        """The size that images are trained at, in words; none where that is their own."""
        size = self.trained_size(image_size)
        return "" if size == image_size else f", trained at {size}x{size}"

    def evaluated(self, val: Split) -> int:
        """Number of images of a validation split that the noise of a trial's accuracy is that of.

        For balanced accuracy it is smaller than the number that the trial is evaluated on.
        """
        share = min(self.val_images or len(val), len(val)) / len(val)
        return max(1, round(share * (val.balanced_size() if self.balanced else len(val))))

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0: it rises linearly, then falls as a cosine."""
        rise = max(1, round(self.warmup * steps))
        if step < rise:
            return self.learning_rate * ((step + 1) / rise)
        fallen = (step + 1 - rise) / (steps + 1 - rise)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))


PRESETS: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="short-cpu", epochs=8, batch_size=64, learning_rate=0.1),
        Recipe(
            name="short-cpu-subset",
            epochs=8,
            batch_size=32,
            learning_rate=0.05,
            train_images=6000,
            val_images=2000,
            shrink=2,
        ),
        Recipe(name="short-gpu", epochs=12, batch_size=512, learning_rate=0.4),
        Recipe(
            name="full",
            epochs=60,
            batch_size=128,
            learning_rate=0.2,
            warmup=0.1,
            clip_norm=1.0,
        ),
    )
}


def get_recipe(name: str, **overrides: Any) -> Recipe:
    """A preset of `PRESETS`, with single fields replaced.

    Raises:
        ValueError: the name or a field is unknown, or a value is not accepted.
    """
    if name not in PRESETS:
        raise ValueError(f"--recipe: {name[:40]!r}; accepted: {', '.join(PRESETS)}")
    try:
        return Recipe.model_validate(PRESETS[name].model_dump() | overrides)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        option = "--" + field.replace("_", "-")
        accepted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{option}: accepted: {', '.join(Recipe.model_fields)}") from None
        raise ValueError(f"{option}: {str(first['input'])[:40]!r}; accepted: {accepted}") from None


def default_recipe(dataset: str, gpu: bool) -> Recipe:
    """The short schedule for a data set on a CPU or a GPU.

    The digits are few and small: one schedule trains on all of them. For every other data set
    the schedule is a subset of shrunk images on the CPU, and all images on a GPU.
    """
    if dataset == "digits":
        return PRESETS["short-cpu"]  # short-gpu's batches of 512 would make two steps an epoch
    return PRESETS["short-gpu" if gpu else "short-cpu-subset"]


def stored_recipe(values: Any) -> Recipe | None:
    """The recipe that a file holds; None where it holds none of this version.

    Fields that an earlier version did not write have their defaults.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError:
        return None
