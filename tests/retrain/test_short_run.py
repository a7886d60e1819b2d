"""Learning rates from short runs: their cost, what is kept, and choices of earlier versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nas.data import DatasetInfo, load_search_data
from nas.files import write_json
from nas.retrain.learning_rate import CHOICES, FOLDER, SHORT_RUNS, choose_rates
from nas.retrain.references import SEARCHED, NetworkSpec
from nas.retrain.short_run import MOST_RUNS, SHARE, ShortRuns
from nas.training import Recipe, get_recipe
from nas.training.pretrained import DESCRIPTION, Description, read_description

IMAGES = 54_000
RECIPE = get_recipe("full")
NETWORKS = [NetworkSpec("mobilenetv2", SEARCHED, "mobilenetv2")]
SHORT = ShortRuns(IMAGES, 6000)
EARLIER = Path(__file__).parents[2] / "results/benchmarks/earlier-run"


@pytest.fixture(scope="module")
def info() -> DatasetInfo:
    return load_search_data("digits", Path("unused")).info


class Validation:
    """Records what is trained; the accuracy is a function of the rate."""

    def __init__(self, accuracy: Callable[[float], float]) -> None:
        self.accuracy = accuracy
        self.trained: list[tuple[Recipe, Path]] = []

    def __call__(self, work: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float]:
        self.trained += [(recipe, folder) for _, recipe, folder in work]
        return [self.accuracy(recipe.learning_rate) for _, recipe, _ in work]


@pytest.mark.parametrize("epochs", [1, 7, 20, 24, 25, 60, 200])
def test_short_runs_take_at_most_a_fifth_of_a_training(epochs: int) -> None:
    whole = RECIPE.model_copy(update={"epochs": epochs})
    short = SHORT.recipe(whole)
    work = MOST_RUNS * short.epochs * (short.train_images or IMAGES)
    assert 0.4 * SHARE <= work / (epochs * IMAGES) <= 1.001 * SHARE
    same = {"epochs", "train_images"}
    assert short.model_dump(exclude=same) == whole.model_dump(exclude=same)


def test_a_subset_is_taken_of_the_recipes_own() -> None:
    whole = RECIPE.model_copy(update={"epochs": 5, "train_images": 10_000})
    assert SHORT.recipe(whole).train_images == 2000
    assert SHORT.steps(whole) == 2000 // RECIPE.batch_size


@pytest.mark.parametrize(
    ("best", "tried"),
    [(0.2, [0.1, 0.2, 0.4]), (0.4, [0.1, 0.2, 0.4, 0.8]), (3.0, [0.1, 0.2, 0.4, 0.8, 1.6])],
)
def test_the_best_rate_is_taken_and_not_chosen_again(
    tmp_path: Path, info: DatasetInfo, best: float, tried: list[float]
) -> None:
    validation = Validation(lambda rate: 0.9 - abs(rate - best) / 10)
    for again in range(2):
        chosen = choose_rates(NETWORKS, {SEARCHED: RECIPE}, (), tmp_path, info, validation, SHORT)[
            SEARCHED
        ]
        assert chosen.learning_rate == min(tried, key=lambda rate: abs(rate - best))
        assert chosen.epochs == RECIPE.epochs
        assert sorted(recipe.learning_rate for recipe, _ in validation.trained) == tried, again
    assert len(validation.trained) <= MOST_RUNS
    folders = {folder for _, folder in validation.trained}
    assert {folder.parent for folder in folders} == {tmp_path / FOLDER / SHORT_RUNS}
    assert len(folders) == len(tried)
    assert not (tmp_path / "mobilenetv2").exists()  # no short run is a network's own training


def test_a_network_of_a_second_recipe_is_not_set_aside(tmp_path: Path, info: DatasetInfo) -> None:
    second = get_recipe("short-cpu", epochs=60, learning_rate=0.05)
    described = Description(
        arch_id=None, arch=None, reference="mobilenetv2", dataset=info.to_dict(),
        recipe=second.model_dump(mode="json"), seed=0, versions={},
    )  # fmt: skip
    (tmp_path / "mobilenetv2").mkdir()
    write_json(tmp_path / "mobilenetv2" / DESCRIPTION, described.model_dump(mode="json"))
    validation = Validation(lambda rate: 0.9 - abs(rate - 0.4) / 10)
    choose_rates(NETWORKS, {SEARCHED: RECIPE}, (), tmp_path, info, validation, SHORT)
    assert read_description(tmp_path / "mobilenetv2").recipe["learning_rate"] == 0.05


def test_a_rate_with_many_digits_is_compared_with_itself() -> None:
    own = RECIPE.model_copy(update={"learning_rate": 0.01875})
    rates = SHORT.rates(own)
    assert own.learning_rate in rates
    accuracies = dict.fromkeys(rates, 0.8) | {rates[-1]: 0.801}
    assert SHORT.best(accuracies, own.learning_rate) == own.learning_rate


def test_the_recipes_rate_stays_unless_another_one_is_better_beyond_the_noise() -> None:
    # Of 6,000 images and an accuracy of 0.8 the standard error of a difference is 0.73 points.
    assert SHORT.best({0.1: 0.807, 0.2: 0.8, 0.4: 0.78}, 0.2) == 0.2
    assert SHORT.best({0.1: 0.808, 0.2: 0.8, 0.4: 0.78}, 0.2) == 0.1
    assert SHORT.best({0.1: 0.5, 0.2: 0.0, 0.4: 0.0}, 0.2) == 0.1  # the others diverged
    assert ShortRuns(IMAGES, 10**6).best({0.1: 0.802, 0.2: 0.8}, 0.2) == 0.1


def test_another_recipe_chooses_anew(tmp_path: Path, info: DatasetInfo) -> None:
    validation = Validation(lambda rate: -abs(rate - 0.2))
    for epochs in (60, 30):
        recipe = RECIPE.model_copy(update={"epochs": epochs})
        choose_rates(NETWORKS, {SEARCHED: recipe}, (), tmp_path, info, validation, SHORT)
    assert len(validation.trained) == 6
    assert len({folder for _, folder in validation.trained}) == 6
    # Whole trainings at the same rates are another choice.
    rates = SHORT.rates(recipe)
    choose_rates(NETWORKS, {SEARCHED: recipe}, rates, tmp_path, info, validation)
    assert len(validation.trained) == 9


def test_choices_of_an_earlier_version_are_known(tmp_path: Path, info: DatasetInfo) -> None:
    """Its recipe had fewer fields; those of the earlier run are such."""
    stored = (EARLIER / CHOICES).read_text()
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / CHOICES).write_text(stored)
    assert "shrink" not in json.loads(stored)[SEARCHED]["recipe"]
    validation = Validation(lambda rate: 0.0)
    # As recorded there.
    recipe = RECIPE.model_copy(update={"epochs": 20, "ema": 0.998, "clip_norm": None})
    chosen = choose_rates(NETWORKS, {SEARCHED: recipe}, (0.1, 0.2, 0.4), tmp_path, info, validation)
    assert chosen[SEARCHED].learning_rate == 0.1
    assert not validation.trained


def test_a_choice_of_an_unknown_recipe_is_made_anew(tmp_path: Path, info: DatasetInfo) -> None:
    choices = json.loads((EARLIER / CHOICES).read_text())
    choices[SEARCHED]["recipe"]["of_a_later_version"] = 1
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / CHOICES).write_text(json.dumps(choices))
    validation = Validation(lambda rate: rate)
    recipe = RECIPE.model_copy(update={"epochs": 20, "ema": 0.998, "clip_norm": None})
    chosen = choose_rates(NETWORKS, {SEARCHED: recipe}, (0.1, 0.2), tmp_path, info, validation)
    assert chosen[SEARCHED].learning_rate == 0.2
