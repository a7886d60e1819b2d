"""The training benchmark: that both loops train one network, and how it counts."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import baseline_training, training
from benchmarks.rows import RowFile
from nas.data import load_search_data
from nas.models.dct import DCT
from nas.training import build, get_recipe


@pytest.fixture(scope="module")
def images() -> training.Images:
    data = training.shrink(load_search_data("digits", Path("data")), 200, 60, 8)
    return training.Images("few digits", data, get_recipe("short-cpu", epochs=3, batch_size=20))


@pytest.mark.parametrize("name", training.ARCHITECTURES)
def test_the_baseline_network_is_ours_of_plain_modules(name, images):
    arch, info = training.ARCHITECTURES[name], images.data.info
    ours, plain = (make(arch, info, 3) for make in (build, baseline_training.plain_network))
    assert not any(isinstance(module, DCT) for module in plain.modules())
    assert ours.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(4, 1, 8, 8)
    for mode in (True, False):
        torch.testing.assert_close(plain.train(mode)(x), ours.train(mode)(x))


def test_both_loops_are_timed_and_go_on(images, tmp_path):
    path = tmp_path / "training.json"

    def measure(repetitions: int) -> list[training.Row]:
        file = RowFile(path, {}, training.KEY)
        return training.measure([images], file, ["shallow"], [1], repetitions)

    measure(1)
    (once,) = json.loads(path.read_text())["rows"]
    rows = measure(2)
    runs = json.loads(path.read_text())["rows"]
    assert [run["seed"] for run in runs] == [0, 1]
    assert runs[0] == once
    assert rows[0].images_per_s["ours"] == pytest.approx(
        3 * 200 / ((runs[0]["seconds"]["ours"] + runs[1]["seconds"]["ours"]) / 2)
    )
    assert [(row.images, row.arch, row.threads) for row in rows] == [("few digits", "shallow", 1)]
    row = rows[0]
    assert set(row.images_per_s) == {"ours", "baseline, 0 workers", "baseline, 2 workers"}
    assert min(row.images_per_s.values()) > 0
    assert training.report(rows)["repetitions"] == 2


def test_images_in_colour_are_the_grey_ones(images):
    data = training.in_colour(images.data)
    assert data.train.images.shape == (200, 3, 8, 8)
    assert torch.equal(data.val.images[:, 2:], images.data.val.images)
    assert (data.info.in_channels, len(data.info.mean), data.info.flip) == (3, 3, True)


def test_the_faster_of_the_baselines_counts():
    def row(ours: float) -> training.Row:
        rates = {"ours": ours, "baseline, 0 workers": 50.0, "baseline, 2 workers": 100.0}
        return training.Row("digits", "mixed", 1, 2, rates)

    figures = training.report([row(200.0), row(400.0)])
    assert [found["speedup"] for found in figures["cases"]] == [2, 4]
    assert figures["speedup"] == {"1": pytest.approx(8**0.5)}
