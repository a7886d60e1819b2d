"""Folders that a training would be refused at are refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from digits_front import NOWHERE, write_digits_front

from nas.files import write_json
from nas.retrain import learning_rate
from nas.retrain.choices import keep_choice
from nas.retrain.recipes import second_recipe
from nas.retrain.second_recipe import CHOICES, FOLDER
from nas.space.arch import Arch, StageArch
from nas.study.front_file import load_front
from nas.training import Recipe, get_recipe
from nas.training.folder import describe
from nas.training.pretrained import DESCRIPTION
from nas.training.small_data import ADAPTED, adapt
from nas.tune.retrain_request import RetrainRequest, resolve

ARCH = Arch(8, (StageArch(16, 1, 2, "dct", 2, 4),))
SEARCHED, FULL = get_recipe("short-cpu"), get_recipe("full")
IMAGES = 1000  # of the digits
FIRST = adapt(FULL, IMAGES)


@pytest.fixture
def request_(tmp_path: Path) -> RetrainRequest:
    return RetrainRequest(
        front=write_digits_front(tmp_path, [ARCH], [0.5], SEARCHED), select="all", recipe=FULL,
        learning_rates=(), seeds=1, references=(), export=(), concurrency=1, threads=1,
        data_dir=NOWHERE, adapted=ADAPTED,
    )  # fmt: skip


def second() -> Recipe:
    recipe = second_recipe(FIRST, ADAPTED, SEARCHED, IMAGES)
    assert recipe is not None
    return recipe


def trained(request: RetrainRequest, folder: str, recipe: Recipe) -> None:
    """Leave the description of a network that was trained by a recipe."""
    info = load_front(request.front).dataset_info()
    described = describe(ARCH, info, recipe, seed=0).model_dump(mode="json")
    write_json(request.home / folder / DESCRIPTION, described)


def refused(request: RetrainRequest) -> bool:
    try:
        resolve(request)
    except ValueError as error:
        if "holds a network trained with another recipe" not in str(error):
            raise
        return True
    return False


@pytest.mark.parametrize("by", ["rates", "second recipe", "short runs"])
def test_a_network_beside_the_own_one_is_of_what_is_asked(
    request_: RetrainRequest, by: str
) -> None:
    recipe, folder = second(), f"{FOLDER}/{ARCH.arch_id}"
    if by == "rates":
        request_ = replace(request_, learning_rates=(0.05, 0.1))
        recipe = FIRST.model_copy(update={"learning_rate": 0.1})
        folder = f"{learning_rate.FOLDER}/{ARCH.arch_id}-0.1"
    elif by == "short runs":
        longer = {"epochs": 2500, "batch_size": 50, "learning_rate": 0.2}
        asked = FULL.model_copy(update=longer)
        request_ = replace(request_, auto_rate=True, recipe=asked, adapted=())
        recipe = asked.model_copy(update={"epochs": 100, "learning_rate": 0.1})
        folder = f"{learning_rate.FOLDER}/{learning_rate.SHORT_RUNS}/{ARCH.arch_id}-0.1-100-epochs"
    trained(request_, folder, recipe)
    assert not refused(request_)
    trained(request_, folder, recipe.model_copy(update={"cutout": 0.5}))
    assert refused(request_)


def test_the_second_recipe_is_known_by_its_choice_alone(request_: RetrainRequest) -> None:
    trained(request_, ARCH.arch_id, second())
    assert refused(request_)
    choice = {
        "first": FIRST.model_dump(mode="json"),
        "second": second().model_dump(mode="json"),
        "chosen": "second",
    }
    keep_choice(request_.home / FOLDER / CHOICES, ARCH.arch_id, choice)
    assert not refused(request_)
    assert refused(replace(request_, recipe=FULL.model_copy(update={"cutout": 0.5})))
