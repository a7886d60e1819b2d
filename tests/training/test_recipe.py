"""Recipes: presets, overrides, the learning rate."""

from __future__ import annotations

import itertools

import pytest

from nas.data.datasets import SOURCES
from nas.training import PRESETS, Recipe, default_recipe, get_recipe


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    recipe = get_recipe(name)
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert get_recipe(name, **recipe.model_dump(exclude={"name"})) == recipe


def test_overrides_replace_single_fields() -> None:
    recipe = get_recipe("full", epochs=3, ema=0.99)
    assert (recipe.epochs, recipe.ema) == (3, 0.99)
    assert recipe.batch_size == get_recipe("full").batch_size


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"epochs": 0}, "--epochs: '0'; accepted: greater than or equal to 1"),
        ({"epochs": 2.5}, "--epochs"),
        ({"epochs": True}, "--epochs"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"learning_rate": -1.0}, "--learning-rate"),
        ({"momentum": 1.0}, "--momentum"),
        ({"ema": 1.0}, "--ema"),
        ({"train_images": 0}, "--train-images"),
        ({"image_size": 2}, "--image-size"),
        ({"colour": "red"}, "--colour: accepted: .*, epochs, "),
    ],
)
def test_a_bad_override_is_one_line(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        get_recipe("full", **overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "own", "trained"),
    [
        ({"shrink": 2}, 28, 14),
        ({"shrink": 2}, 64, 32),  # by a factor, not to a constant
        ({"shrink": 1}, 64, 64),
        ({"shrink": 4}, 8, 4),  # the smallest there is
        ({"image_size": 14}, 64, 14),  # as studies have it that began before there was a factor
        ({"image_size": 14}, 8, 8),
    ],
)
def test_images_are_trained_at(fields: dict[str, int], own: int, trained: int) -> None:
    recipe = get_recipe("full", **fields)
    assert recipe.trained_size(own) == trained
    assert (recipe.size_note(own) == "") == (own == trained)


def test_a_recipe_that_was_recorded_without_a_factor() -> None:
    recorded = get_recipe("short-cpu-subset").model_dump() | {"image_size": 14}
    del recorded["shrink"]
    assert Recipe.model_validate(recorded).trained_size(64) == 14


def test_an_unknown_preset_is_one_line() -> None:
    with pytest.raises(ValueError, match=f"--recipe: 'fast'; accepted: {', '.join(PRESETS)}"):
        get_recipe("fast")


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("dataset", SOURCES)
def test_every_data_set_has_a_default(dataset: str, gpu: bool) -> None:
    assert default_recipe(dataset, gpu) in PRESETS.values()


@pytest.mark.parametrize("gpu", [False, True])
def test_the_digits_are_too_few_for_the_batches_of_a_gpu(gpu: bool) -> None:
    assert default_recipe("digits", gpu).name == "short-cpu"


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
def test_learning_rate_rises_to_its_peak_once_and_falls_towards_0(
    steps: int, warmup: float
) -> None:
    recipe = get_recipe("full", learning_rate=0.4, warmup=warmup)
    rates = [recipe.learning_rate_at(step, steps) for step in range(steps)]
    assert max(rates) == 0.4
    assert min(rates) > 0
    peak = rates.index(0.4)
    assert all(a < b for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in itertools.pairwise(rates[peak:]))
    if steps == 100:
        assert peak == max(0, round(warmup * 100) - 1)
        assert rates[-1] < 0.4 * 0.35
