"""Networks to compare with: twins of the same stages, of equal cost, the nearest of Table 2."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from nas.data import DatasetInfo
from nas.files import write_json
from nas.models.reference import REFERENCES, Reference, build_reference, reference_macs
from nas.retrain.learning_rate import choose_rates, chosen_rate, own_recipe
from nas.retrain.references import (
    EQUAL,
    NetworkSpec,
    dct_twin,
    equal_cost_twin,
    nearest_reference,
    nearest_table2,
    network_specs,
    pointwise_twin,
)
from nas.space.arch import Arch, StageArch, table2_arch
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.training import Recipe, get_recipe
from nas.training.folder import describe, locked
from nas.training.pretrained import DESCRIPTION

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "search_spaces" / "dyclotnet.yaml")


def macs(arch: Arch, info: DatasetInfo) -> int:
    return cost(arch, info.image_size, info.in_channels, info.num_classes).macs


@pytest.mark.parametrize("seed", range(12))
def test_twins_keep_the_stages_and_the_equal_one_the_cost(
    seed: int, digits_info: DatasetInfo
) -> None:
    arch = SPACE.sample(random.Random(seed))
    twin = pointwise_twin(arch)
    assert twin.stem == arch.stem
    equal = equal_cost_twin(arch, digits_info)
    assert equal is not None
    assert abs(macs(equal, digits_info) / macs(arch, digits_info) - 1) <= EQUAL
    for stage, same, scaled in zip(arch.stages, twin.stages, equal.stages, strict=True):
        assert (same.expansion, same.hidden, scaled.expansion) == ("pointwise", None, "pointwise")
        assert (same.width, same.repeats, same.stride, same.p) == (
            stage.width, stage.repeats, stage.stride, stage.p,
        )  # fmt: skip
        assert (scaled.repeats, scaled.stride, scaled.p) == (
            stage.repeats, stage.stride, stage.p,
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_a_pointwise_network_has_twins_with_dct(seed: int, digits_info: DatasetInfo) -> None:
    arch = pointwise_twin(SPACE.sample(random.Random(seed)))
    equal = equal_cost_twin(arch, digits_info)
    assert equal is not None
    assert abs(macs(equal, digits_info) / macs(arch, digits_info) - 1) <= EQUAL
    for stage, same, scaled in zip(arch.stages, dct_twin(arch).stages, equal.stages, strict=True):
        assert same == replace(stage, expansion="dct", hidden=max(1, stage.width // 4))
        assert scaled == replace(same, width=scaled.width, hidden=max(1, scaled.width // 4))
    assert pointwise_twin(dct_twin(arch)) == arch
    (_, twin), notes = network_specs([arch], ["equal-cost-twin"], digits_info)
    assert (twin.network, twin.family, twin.of) == (equal, "dct-twin", arch.arch_id)
    assert not notes


def test_the_twin_of_a_twin_is_the_network_of_table_2(digits_info: DatasetInfo) -> None:
    arch = table2_arch(1, 4, 4)
    assert dct_twin(pointwise_twin(arch)) == arch


def test_no_width_of_equal_cost(digits_info: DatasetInfo) -> None:
    """One stage of the least width: nothing smaller exists, and it costs twice as much."""
    arch = Arch(1, (StageArch(128, 8, 1, "dct", 64, 1),))
    assert equal_cost_twin(arch, digits_info) is None
    found, notes = network_specs([arch], ["equal-cost-twin"], digits_info)
    assert [one.network for one in found] == [arch]
    assert "no width is within 5%" in notes[0]


def test_table_2_finds_its_own_networks(digits_info: DatasetInfo) -> None:
    for alpha, p in ((0.5, 4), (1, 2), (2, 8)):
        arch = table2_arch(alpha, p, 4)
        name, found = nearest_table2(macs(arch, digits_info), digits_info)
        assert (name, found) == (f"table2-{alpha:g}-p{p}", arch)


def test_mobilenet_of_comparable_cost(digits_info: DatasetInfo) -> None:
    name = nearest_reference(
        "mobilenetv2", reference_macs("mobilenetv2-0.5", 8, 1, 10), digits_info
    )
    assert name == "mobilenetv2-0.5"
    with pytest.raises(ValueError, match="mobilenetv2-9"):
        build_reference("mobilenetv2-9", 1, 10)


def test_each_network_once_and_what_there_is_not_is_said(digits_info: DatasetInfo) -> None:
    dct = table2_arch(0.5, 4, 4)
    chosen = [dct, pointwise_twin(dct)]
    found, notes = network_specs(chosen, ["twin", "table2", "mobilenetv2"], digits_info)
    assert [one.name for one in found][:2] == [arch.arch_id for arch in chosen]
    ids = [one.network if isinstance(one.network, str) else one.network.arch_id for one in found]
    assert len(ids) == len(set(ids))
    assert "mobilenetv2" in ids
    assert not notes
    assert len(ids) == 4  # both are each other's twin
    for unknown in ("resnet", "mobilenetv2-0", "mobilenetv2-x", ""):
        with pytest.raises(ValueError, match=r"--reference .*accepted: mobilenetv2"):
            network_specs(chosen, [unknown], digits_info)


def plain_network(width: float = 1.0, in_channels: int = 3, num_classes: int = 10) -> nn.Module:
    channels = max(1, round(64 * width))
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, num_classes),
    )


def test_a_new_reference_network_is_one_entry_with_a_learning_rate_of_its_own(
    digits_info: DatasetInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REFERENCES, "plain", Reference("Plain", plain_network, learning_rate=0.03))
    asked = ["plain", "plain-0.5", "plain-scaled", "mobilenetv2-0.05"]
    networks, _ = network_specs([table2_arch(0.25, 8, 4)], asked, digits_info)
    assert [one.family for one in networks] == ["searched", *["plain"] * 3, "mobilenetv2"]
    assert networks[3].network == "plain-1.5"  # the widest: the chosen network costs more
    recipe = get_recipe("full")

    def validate(trainings: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
        """The best rate of this family is 0.1, that of the others 0.4."""
        best = {"plain": 0.1}
        return [
            1 - abs(one.learning_rate - best.get(network.family, 0.4))
            for network, one, _ in trainings
        ]

    def rates(asked: tuple[float, ...]) -> dict[str, float]:
        own = {one.family: own_recipe(one.family, recipe) for one in networks}
        chosen = choose_rates(networks, own, asked, tmp_path, digits_info, validate)
        return {family: one.learning_rate for family, one in chosen.items()}

    default = recipe.learning_rate
    assert chosen_rate(tmp_path, "plain") is None
    assert rates(()) == {"searched": default, "plain": 0.03, "mobilenetv2": default}
    assert rates((0.2,)) == dict.fromkeys(("searched", "plain", "mobilenetv2"), 0.2)
    assert rates((0.1, 0.4)) == {"searched": 0.4, "plain": 0.1, "mobilenetv2": 0.4}


def test_no_rate_is_chosen_where_a_training_was_lost(
    digits_info: DatasetInfo, tmp_path: Path
) -> None:
    asked = ["mobilenetv2-0.05"]
    networks, _ = network_specs([table2_arch(0.25, 8, 4)], asked, digits_info)
    own = dict.fromkeys(("searched", "mobilenetv2"), get_recipe("full"))
    own_folder, lost = tmp_path / networks[0].name, {("searched", 0.2)}
    at_first = get_recipe("full", learning_rate=0.1)
    described = describe(networks[0].network, digits_info, at_first, 0).model_dump(mode="json")

    def validate(trainings: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
        return [
            None if (one.family, recipe.learning_rate) in lost else recipe.learning_rate
            for one, recipe, _ in trainings
        ]

    def rates() -> dict[str, float]:
        chosen = choose_rates(networks, own, (0.1, 0.2), tmp_path, digits_info, validate)
        return {family: recipe.learning_rate for family, recipe in chosen.items()}

    write_json(own_folder / DESCRIPTION, described)  # trained at one of the rates before
    assert rates() == {"mobilenetv2": 0.2}
    assert chosen_rate(tmp_path, "searched") is None
    assert (own_folder / DESCRIPTION).exists()
    lost.clear()
    assert rates() == {"searched": 0.2, "mobilenetv2": 0.2}


def test_a_reference_network_is_trained_once_however_its_width_is_written(
    digits_info: DatasetInfo,
) -> None:
    asked = ["mobilenetv2", "mobilenetv2-1", "mobilenetv2-1.0", "mobilenetv2-0.5"]
    networks, _ = network_specs([table2_arch(0.25, 8, 4)], asked, digits_info)
    assert [one.name for one in networks[1:]] == ["mobilenetv2", "mobilenetv2-0.5"]


def test_an_interruption_in_the_first_epoch_leaves_no_folder_in_the_way(
    digits_info: DatasetInfo, tmp_path: Path
) -> None:
    """The training at the best rate becomes the network's own."""
    (network,), _ = network_specs([table2_arch(0.25, 8, 4)], [], digits_info)
    with locked(tmp_path / network.name):
        pass

    def validate(trainings: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
        for _, recipe, folder in trainings:
            folder.mkdir(parents=True)
            (folder / "rate").write_text(f"{recipe.learning_rate:g}")
        return [recipe.learning_rate for _, recipe, _ in trainings]

    own = {network.family: get_recipe("full")}
    choose_rates([network], own, (0.1, 0.2), tmp_path, digits_info, validate)
    assert (tmp_path / network.name / "rate").read_text() == "0.2"


def test_a_rate_at_the_edge_widens_the_grid(digits_info: DatasetInfo, tmp_path: Path) -> None:
    (network,), _ = network_specs([table2_arch(0.25, 8, 4)], [], digits_info)
    recipe, tried = get_recipe("full"), []

    def chosen(best: float, rates: Sequence[float], home: Path) -> float:
        tried.clear()

        def validate(trainings: Sequence[tuple[NetworkSpec, Recipe, Path]]) -> list[float | None]:
            tried.extend(one.learning_rate for _, one, _ in trainings)
            return [1 / (1 + abs(math.log(one.learning_rate / best))) for _, one, _ in trainings]

        own = {network.family: recipe}
        found = choose_rates([network], own, rates, home, digits_info, validate)
        return found[network.family].learning_rate

    assert chosen(0.4, (0.2, 0.05, 0.1), tmp_path / "up") == 0.4
    assert tried == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert chosen_rate(tmp_path / "up", network.family) == 0.4
    assert chosen(0.4, (0.05, 0.1, 0.2), tmp_path / "up") == 0.4
    assert tried == []  # chosen before
    assert chosen(0.001, (0.1, 0.2, 0.4), tmp_path / "down") == 0.025
    assert tried == [0.1, 0.2, 0.4, 0.05, 0.025]  # as far as it goes
    assert chosen(0.2, (0.1, 0.2, 0.4), tmp_path / "inside") == 0.2
    assert len(tried) == 3
    assert chosen(0.4, (0.1, 0.2), tmp_path / "two") == 0.2
    assert tried == [0.1, 0.2]
    assert chosen(300, (25, 50, 100), tmp_path / "greatest") == 100
    assert tried == [25, 50, 100]  # a recipe accepts no more
