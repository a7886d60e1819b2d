"""Training of one network: recipes, the trainer, checkpoints, trained networks as files."""

from nas.training.evaluate import accuracy
from nas.training.recipe import PRESETS, Recipe, default_recipe, get_recipe
from nas.training.trainer import Diverged, Trainer, build

__all__ = [
    "PRESETS",
    "Diverged",
    "Recipe",
    "Trainer",
    "accuracy",
    "build",
    "default_recipe",
    "get_recipe",
]
