"""A network below its short schedule's accuracy is trained again, and the better one is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from nas.data import load_search_data
from nas.files import write_json
from nas.retrain import choices as choices_module
from nas.retrain.references import SEARCHED, NetworkSpec
from nas.retrain.second_recipe import CHOICES, FOLDER, describe_second_trainings, train_again
from nas.space.arch import Arch, StageArch
from nas.training import Recipe, get_recipe
from nas.training.folder import describe
from nas.training.pretrained import DESCRIPTION

FIRST, SECOND = get_recipe("full"), get_recipe("short-cpu", epochs=60)
NETWORKS = [NetworkSpec(name, SEARCHED, "mobilenetv2") for name in ("good", "poor", "bad")]
SHORT = {"good": 0.6, "poor": 0.7, "bad": 0.7}
ACCURACY = {
    ("good", "full"): 0.6, ("poor", "full"): 0.4, ("bad", "full"): 0.5,
    ("poor", "short-cpu"): 0.8, ("bad", "short-cpu"): 0.1,
}  # fmt: skip


class Killed(Exception):
    """Ends the process between two steps."""


class Validation:
    """Writes a file in place of each training, which says by which recipe it was made."""

    def __init__(self) -> None:
        self.trained: list[tuple[str, str]] = []

    def __call__(self, work: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
        for spec, recipe, folder in work:
            if not (folder / "recipe").exists():
                self.trained.append((spec.name, recipe.name))
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "recipe").write_text(recipe.name)
        return [ACCURACY[spec.name, recipe.name] for spec, recipe, _ in work]


def chosen(home: Path, validation: Validation) -> dict[str, str]:
    first = dict.fromkeys((one.name for one in NETWORKS), FIRST)
    recipes = train_again(NETWORKS, first, SECOND, SHORT, home, validation)
    for name, recipe in recipes.items():
        assert (home / name / "recipe").read_text() == recipe.name
    return {name: recipe.name for name, recipe in recipes.items()}


def test_the_better_training_is_the_networks_own(tmp_path: Path) -> None:
    validation = Validation()
    expected = {"good": "full", "poor": "short-cpu", "bad": "full"}
    assert chosen(tmp_path, validation) == expected
    assert ("good", "short-cpu") not in validation.trained
    assert (tmp_path / FOLDER / "poor-first" / "recipe").read_text() == "full"
    assert (tmp_path / FOLDER / "bad" / "recipe").read_text() == "short-cpu"
    again = Validation()
    assert chosen(tmp_path, again) == expected
    assert not again.trained
    poor = next(line for line in describe_second_trainings(tmp_path) if line.startswith("poor"))
    assert "40.00 %" in poor
    assert "80.00 %" in poor
    assert f"{FOLDER}/poor-first" in poor


def test_references_have_no_short_schedule_and_are_not_trained_here(tmp_path: Path) -> None:
    validation = Validation()
    twin = NetworkSpec("twin-good", "twin", "mobilenetv2")
    assert train_again([twin], {"twin-good": FIRST}, SECOND, SHORT, tmp_path, validation) == {
        "twin-good": FIRST
    }
    assert not validation.trained


@pytest.mark.parametrize("survived", range(4))
def test_a_kill_at_any_rename_or_write_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    steps = 0
    rename, write = Path.rename, write_json

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > survived:
            raise Killed

    def killed_rename(path: Path, target: Path) -> Path:
        step()
        return rename(path, target)

    def killed_write(path: Path, contents: object) -> None:
        step()
        write(path, contents)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_rename)
        patch.setattr(choices_module, "write_json", killed_write)
        with pytest.raises(Killed):
            chosen(tmp_path, Validation())
    again = Validation()
    assert chosen(tmp_path, again) == {"good": "full", "poor": "short-cpu", "bad": "full"}
    assert not again.trained


@pytest.mark.parametrize("lost", ["full", "short-cpu"])
def test_a_training_that_fails_for_another_reason_decides_nothing(
    tmp_path: Path, lost: str
) -> None:
    """Its worker was lost, say: it is tried again later, and the other networks go on."""

    def validate(work: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
        accuracies = Validation()(work)
        return [
            None if (spec.name, recipe.name) == ("poor", lost) else accuracy
            for (spec, recipe, _), accuracy in zip(work, accuracies, strict=True)
        ]

    recipes = train_again(
        *(NETWORKS, dict.fromkeys(SHORT, FIRST), SECOND, SHORT, tmp_path, validate)
    )
    left = {name: "full" for name in SHORT if (name, lost) != ("poor", "full")}
    assert {name: recipe.name for name, recipe in recipes.items()} == left
    assert json.loads((tmp_path / FOLDER / CHOICES).read_text()).keys() == {"bad"}
    again = Validation()
    assert chosen(tmp_path, again)["poor"] == "short-cpu"


def test_a_network_that_was_moved_away_is_trained_twice_again(tmp_path: Path) -> None:
    expected = chosen(tmp_path, Validation())
    (tmp_path / "poor").rename(tmp_path / "elsewhere")
    longer = get_recipe("full", epochs=80)
    first = {**dict.fromkeys(SHORT, FIRST), "poor": longer}
    again = train_again(NETWORKS, first, SECOND, SHORT, tmp_path, Validation())
    assert {name: recipe.name for name, recipe in again.items()} == expected
    folders = {path.name for path in (tmp_path / FOLDER).glob("poor*")}
    assert folders == {"poor-first", "poor-first-2"}


def test_choices_of_calls_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    poor, bad = NETWORKS[1:]

    def validate(work: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
        """While this call trains, another one trains the other network."""
        if not (tmp_path / bad.name).exists():
            train_again([bad], {bad.name: FIRST}, SECOND, SHORT, tmp_path, Validation())
        return Validation()(work)

    train_again([poor], {poor.name: FIRST}, SECOND, SHORT, tmp_path, validate)
    choices = json.loads((tmp_path / FOLDER / CHOICES).read_text())
    assert {name: choice["chosen"] for name, choice in choices.items()} == {
        "poor": "second",
        "bad": "first",
    }


def test_choices_of_an_earlier_version_are_known(tmp_path: Path) -> None:
    """Its second recipe had a field less, which has its default."""
    expected = chosen(tmp_path, Validation())
    path = tmp_path / FOLDER / CHOICES
    stored = json.loads(path.read_text())
    for choice in stored.values():
        assert choice["second"].pop("clip_norm", 0) is None
    path.write_text(json.dumps(stored))

    def validate(work: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
        assert {one.name for one, *_ in work} <= {"good"}  # of which nothing was chosen
        return [SHORT["good"] for _ in work]

    recipes = {one.name: FIRST for one in NETWORKS}
    again = train_again(NETWORKS, recipes, SECOND, SHORT, tmp_path, validate)
    assert {name: recipe.name for name, recipe in again.items()} == expected


def test_damaged_choices_are_one_line(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / CHOICES).write_text("{")
    with pytest.raises(ValueError, match="damaged; remove it to choose again"):
        chosen(tmp_path, Validation())


def test_a_network_by_the_second_recipe_makes_room_for_another_first_one(tmp_path: Path) -> None:
    """Another learning rate was chosen since; the second training is not made again."""
    poor, arch = NETWORKS[1], Arch(8, (StageArch(16, 1, 2, "dct", 2, 4),))
    info = load_search_data("digits", Path("unused")).info
    described = describe(arch, info, SECOND, seed=0).model_dump(mode="json")
    chosen_by = Validation()
    train_again([poor], {"poor": FIRST}, SECOND, SHORT, tmp_path, chosen_by)
    write_json(tmp_path / "poor" / DESCRIPTION, described)
    other, again = get_recipe("full", learning_rate=0.1), Validation()
    recipes = train_again([poor], {"poor": other}, SECOND, SHORT, tmp_path, again)
    assert again.trained == [("poor", "full")]
    assert recipes == {"poor": SECOND}
    assert (tmp_path / "poor" / "recipe").read_text() == "short-cpu"
