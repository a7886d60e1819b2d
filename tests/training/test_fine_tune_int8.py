"""Fine-tuning in int8: where it is needed, what it gains, and when it is not kept."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from cross_layer_scales import rescale

from nas.data import Batches, SearchData
from nas.models import DyClotNet
from nas.models.fake_quantise import calibration_images, fake_quantise
from nas.space.arch import Arch
from nas.training import Trainer, accuracy, build, get_recipe
from nas.training import fine_tune_int8 as module
from nas.training.fine_tune_int8 import ACCEPTED_LOSS, fine_tune_int8

CPU = torch.device("cpu")
RECIPE = get_recipe("short-cpu", epochs=12, batch_size=32)


@pytest.fixture(scope="module")
def trained(tiny_arch: Arch, digits_data: SearchData) -> DyClotNet:
    network = build(tiny_arch, digits_data.info, 0)
    trainer = Trainer(network, digits_data, RECIPE, seed=0, device=CPU)
    for _ in range(RECIPE.epochs):
        trainer.train_epoch()
    plain = DyClotNet(tiny_arch, 1, 10)  # without the kernels, as `load_pretrained` returns it
    plain.load_state_dict(network.state_dict())
    return plain.eval()


@pytest.fixture(scope="module")
def rescaled(trained: DyClotNet) -> DyClotNet:
    network = copy.deepcopy(trained)
    rescale(network)
    return network


def fine_tune(network: torch.nn.Module, data: SearchData, **more: Any) -> tuple[Any, Any]:
    return fine_tune_int8(network, data, RECIPE, 0, device=CPU, threads=1, **more)


def test_a_network_that_loses_over_a_point_gets_better(
    rescaled: DyClotNet, trained: DyClotNet, digits_data: SearchData
) -> None:
    val = Batches(digits_data.val, digits_data.info, 500, CPU)
    assert accuracy(rescaled, val) == pytest.approx(accuracy(trained, val), abs=0.005)
    before = copy.deepcopy(rescaled.state_dict())
    epochs: list[tuple[int, int, float, float]] = []
    tuned, measured = fine_tune(rescaled, digits_data, progress=lambda *one: epochs.append(one))
    assert measured["float_accuracy"] == accuracy(rescaled, val)
    assert measured["static_accuracy"] < measured["float_accuracy"] - ACCEPTED_LOSS
    assert measured["accuracy"] > measured["static_accuracy"] + 0.02
    assert measured["kept"]
    assert measured["val_images"] == len(digits_data.val)
    assert (measured["epochs"], measured["seconds"] > 0) == (1, True)
    assert [one[:2] for one in epochs] == [(1, 1)]
    assert epochs[0][3] == measured["accuracy"]
    ranges = calibration_images(digits_data.train)
    [(images_BCHW, _)] = Batches(ranges, digits_data.info, len(ranges), CPU)
    assert accuracy(fake_quantise(tuned, images_BCHW), val) == measured["accuracy"]
    assert all(torch.equal(before[name], now) for name, now in rescaled.state_dict().items())
    again, _ = fine_tune(rescaled, digits_data)
    assert all(map(torch.equal, tuned.parameters(), again.parameters()))


def test_nothing_is_trained_below_a_point(trained: DyClotNet, digits_data: SearchData) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    tuned, measured = fine_tune(trained, digits_data, progress=never)
    assert tuned is None
    assert measured["static_accuracy"] >= measured["float_accuracy"] - ACCEPTED_LOSS
    assert {name: measured[name] for name in ("accuracy", "epochs", "seconds", "kept")} == {
        "accuracy": None,
        "epochs": 0,
        "seconds": 0.0,
        "kept": False,
    }


@pytest.mark.parametrize("rate", [1.0, math.inf])
def test_a_worse_network_is_not_kept(
    rescaled: DyClotNet, digits_data: SearchData, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    monkeypatch.setattr(module, "LEARNING_RATE", rate)
    tuned, measured = fine_tune(rescaled, digits_data)
    assert (tuned, measured["kept"], measured["epochs"]) == (None, False, 1)
    assert (measured["accuracy"] is None) == (rate == math.inf)  # the loss is no number


def test_a_network_of_another_kind_is_skipped(digits_data: SearchData) -> None:
    assert fine_tune(torch.nn.Flatten(), digits_data) == (
        None,
        {"skipped": "Flatten is none of the search space"},
    )
