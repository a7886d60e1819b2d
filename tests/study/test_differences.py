"""What a person reads when a study is continued with something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nas.data import SplitRecord
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.study.begin import require_same
from nas.study.config import StudyConfig
from nas.study.differences import differences, require_there
from nas.study.objectives import Objectives
from nas.training import get_recipe

Change = Callable[[StudyConfig], StudyConfig]


def data(**changes: object) -> Change:
    return lambda config: replace(config, dataset=replace(config.dataset, **changes))


def recipe(**changes: object) -> Change:
    return lambda config: replace(config, recipe=config.recipe.model_copy(update=changes))


def base(config: StudyConfig) -> StudyConfig:
    """A study on a folder that exists, as it begins."""
    return data(name=f"folder:{Path.cwd()}")(
        replace(config, splits=SplitRecord(192, 48, 60, "0" * 16))
    )


def wider(config: StudyConfig) -> StudyConfig:
    space = config.space.to_dict()
    space["stages"][0]["repeats"] = [1, 2, 3, 4]
    return replace(config, space=SearchSpace.from_dict(space, "tiny"))


CASES: list[tuple[Change, list[str]]] = [
    (lambda config: config, []),
    (lambda config: replace(config, splits=SplitRecord(192, 48, 59, "1" * 16)), []),
    # all that follows from another size is left out
    (
        data(image_size=16, crop=2, mean=(0.2,), std=(0.2,), fingerprint="1" * 16),
        ["--image-size: 8 in the study, 16 asked"],
    ),
    (
        data(in_channels=3, mean=(0.2,) * 3, std=(0.2,) * 3, fingerprint="1" * 16),
        ["--channels: 1 in the study, 3 asked"],
    ),
    (data(background="#ff0000"), ["--background: none in the study, #ff0000 asked"]),
    (data(name="cifar10", fingerprint="1" * 16), ["--dataset: folder:"]),
    (
        data(class_names=tuple("012345678x"), fingerprint="1" * 16),
        ["classes: '0', '1', '2', '3', '4' and 5 more in the study"],
    ),
    (
        lambda config: data(fingerprint="1" * 16, mean=(0.2,))(
            replace(config, splits=SplitRecord(191, 48, 60, "0" * 16))
        ),
        ["192 training and 48 validation images then, 191 and 48 now; where a split is drawn"],
    ),
    (data(crop=2), ["crop: 1 in the study, 2 now"]),
    (data(flip=True), ["flip: no in the study, yes now"]),
    (recipe(epochs=5), ["--epochs: 2 in the study, 5 asked"]),
    (recipe(train_images=50), ["--train-images: none in the study, 50 asked"]),
    (recipe(metric="balanced-accuracy"), ["--metric: accuracy in the study, balanced-accuracy"]),
    (recipe(shrink=2), ["--image-size: trained at 8 pixels in the study, trained at 4 pixels"]),
    (recipe(warmup=0.5), ["recipe, warmup: 0.2 in the study, 0.5 now"]),
    (
        lambda config: replace(config, recipe=get_recipe("full")),
        ["--recipe: short-cpu in the study, full asked"],
    ),
    (lambda config: replace(config, quantized=True), ["--quantized: no in the study, yes asked"]),
    (wider, ["--space, stages.1.repeats: "]),
    (
        lambda config: replace(config, space=SearchSpace.from_yaml("search_spaces/dyclotnet.yaml")),
        ["--space: tiny in the study, dyclotnet asked"],
    ),
    (  # the same choices under another name are the same space
        lambda config: replace(config, space=SearchSpace.from_dict(config.space.to_dict(), "x")),
        [],
    ),
    (
        lambda config: replace(config, objectives=Objectives(("accuracy", "params"))),
        ["--objectives: accuracy,macs in the study, accuracy,params asked"],
    ),
    (
        lambda config: replace(config, limits=Limits(20_000_000, 5)),
        ["--max-macs: none in the study, 20,000,000 asked", "--max-params: none in the study, 5"],
    ),
    (
        lambda config: replace(config, limits=Limits(max_memory=9, max_flash=7)),
        ["--max-memory: none in the study, 9 asked", "--max-flash: none in the study, 7 asked"],
    ),
    (  # what follows from a device is left out
        lambda config: replace(config, limits=Limits(max_memory=9, max_flash=7, device="d")),
        ["--device: none in the study, d asked"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), CASES)
def test_the_words_are_those_of_the_options(
    tiny_config: StudyConfig, change: Change, expected: list[str]
) -> None:
    stored = base(tiny_config)
    found = differences(stored, change(stored))
    assert len(found) == len(expected), found
    for line, words in zip(found, expected, strict=True):
        assert words in line
    assert not any(name in "".join(found) for name in ("dataset.", "recipe.", "fingerprint"))


def test_a_line_says_what_to_do(tiny_config: StudyConfig) -> None:
    stored = base(tiny_config)
    require_same(stored, stored, "t")
    with pytest.raises(ValueError, match=r"a new study with --study NAME$") as caught:
        require_same(stored, wider(recipe(epochs=1, batch_size=9, metric="m")(stored)), "t")
    assert "; and 1 more; accepted: the study's settings and files" in str(caught.value)


def test_a_study_without_a_record_of_its_splits(tiny_config: StudyConfig) -> None:
    """Such as one on transparent images, from before these were put on a background."""
    stored = replace(base(tiny_config), splits=None)
    asked = data(fingerprint="1" * 16, background="#ffffff")(base(tiny_config))
    (line,) = differences(stored, asked)
    assert line.endswith("or an earlier version of this program read or divided them otherwise")


def test_a_folder_that_was_moved(tiny_config: StudyConfig, tmp_path: Path) -> None:
    stored = data(name=f"folder:{tmp_path / 'old'}")(tiny_config)
    (line,) = differences(stored, data(name=f"folder:{tmp_path}")(tiny_config))
    assert line.endswith("found by a symbolic link in its old place")
    with pytest.raises(ValueError, match=r"old, which is not there; accepted: .* symbolic link"):
        require_there(stored.dataset, Path("front.json"))
    (tmp_path / "old").symlink_to(tmp_path)
    require_there(stored.dataset, Path("front.json"))


def test_a_study_of_another_version_is_one_line(tiny_config: StudyConfig) -> None:
    attributes = tiny_config.to_attributes()
    for key, value in (("recipe", {"name": "x"}), ("splits", {"train": "many"})):
        with pytest.raises(ValueError, match=r"study t: .* cannot be read") as caught:
            StudyConfig.from_attributes(attributes | {key: value}, "t")
        assert "\n" not in str(caught.value)
