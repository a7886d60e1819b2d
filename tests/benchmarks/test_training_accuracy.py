"""The comparison of accuracies: both loops train the same, and equal accuracies say something."""

from pathlib import Path

import pytest

from benchmarks.rows import RowFile
from benchmarks.training import shrink
from benchmarks.training_accuracy import KEY, measure, summarise
from nas.data import load_search_data
from nas.training import get_recipe


def test_pairs_are_trained_once_and_go_on(tmp_path: Path) -> None:
    data = shrink(load_search_data("digits", Path("data")), 300, 100, 8)
    recipe = get_recipe("short-cpu", epochs=4, batch_size=20)
    path = tmp_path / "pairs.json"
    (once,) = measure(data, recipe, RowFile(path, {}, KEY), 1, ["shallow"])
    first, second = measure(data, recipe, RowFile(path, {}, KEY), 2, ["shallow"])
    assert first == once
    assert (first["seed"], second["seed"]) == (0, 1)
    assert min(*first["accuracy"].values(), *second["accuracy"].values()) > 0.2  # chance is 0.1


def test_the_interval_is_of_paired_differences() -> None:
    rows = [{"accuracy": {"ours": 0.85 + d, "baseline": 0.84}} for d in (0.0, 0.01, 0.02)]
    found = summarise(rows)
    assert found["difference"] == pytest.approx(0.02)
    assert found["high"] - found["difference"] == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)


def test_a_baseline_that_has_not_learned_is_no_comparison() -> None:
    rows = [{"accuracy": {"ours": 0.1, "baseline": 0.1}}] * 3
    with pytest.raises(ValueError, match=r"0\.100 on average; accepted: 0\.8 or more"):
        summarise(rows)
