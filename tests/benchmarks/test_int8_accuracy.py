"""The benchmark of int8 accuracies: a row of a real network, and what is said of rows."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.int8_accuracy import LEAST, MOST, measure, networks, summarise
from nas.data import load_search_data
from nas.space.arch import Arch, StageArch
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.training import get_recipe


def test_a_network_is_trained_exported_and_compared(tmp_path: Path) -> None:
    data = load_search_data("digits", Path("unused"))
    arch = Arch(8, (StageArch(16, 2, 1, "dct", 2, 4), StageArch(32, 1, 2, "pointwise", 4, None)))
    recipe = get_recipe("short-cpu", epochs=3)
    row = measure(arch, 0, data, recipe, tmp_path / "net")
    assert row["arch_id"] == arch.arch_id
    assert row["float"] > 0.5
    assert row["fake"] == pytest.approx(row["runtime"], abs=0.01)
    assert row["int8_seconds"] > row["float_seconds"] > 0
    assert row["training_seconds"] > 0


def test_networks_are_spread_over_cost() -> None:
    space = SearchSpace.from_yaml("search_spaces/dyclotnet.yaml")
    drawn = networks(space, 10, (28, 1, 10))
    macs = sorted(cost(arch, 28, 1, 10).macs for arch in drawn)
    edges = [LEAST * (MOST / LEAST) ** (part / 10) for part in range(11)]
    assert all(low <= one <= high for low, one, high in zip(edges, macs, edges[1:], strict=False))
    assert macs != [cost(arch, 28, 1, 10).macs for arch in drawn]


def test_what_int8_changes_and_what_a_seed_changes() -> None:
    """int8 takes the same from each network here, and a seed shuffles accuracies of equal cost."""
    rng, rows = np.random.default_rng(0), []
    for index in range(40):
        macs, quality = 10 ** rng.uniform(5, 6.3), rng.normal()
        for seed in (0, 1):
            accuracy = 0.7 + 0.02 * np.log(macs / LEAST) + 0.01 * (quality + rng.normal())
            seconds = {"training_seconds": 10.0, "float_seconds": 0.1, "int8_seconds": 0.35}
            rows.append(
                {"arch_id": str(index), "seed": seed, "macs": macs, "float": accuracy}
                | {"fake": accuracy - 0.003, "runtime": accuracy - 0.004 + 0.002 * (index == 7)}
                | seconds
            )
    found = summarise(rows, 8)
    assert found["trainings"] == 80
    assert found["agreement"]["median"] == pytest.approx(0.001)
    assert found["agreement"]["most"] == pytest.approx(0.001)
    assert found["agreement"]["float_most"] == pytest.approx(0.004)
    assert found["loss"]["least"] == pytest.approx(0.002)
    assert found["added"]["median"] == pytest.approx(4 * 0.25 / 10.4)
    int8, seeds = found["int8"], found["seeds"]
    assert int8["networks"] == seeds["networks"] == 40
    value, low, high = int8["partial"]
    assert low <= value <= high <= 1
    assert value > 0.98
    assert 0.2 < seeds["partial"][0] < 0.8
    assert seeds["spearman"][0] > seeds["partial"][0]
    assert int8["on_front"][2] <= min(int8["on_front"][:2])
    assert int8["on_front"][2] > seeds["on_front"][2]
    some = summarise([row for row in rows if row["seed"] == 0], 8)
    assert some["int8"] == int8
    assert "seeds" not in some
