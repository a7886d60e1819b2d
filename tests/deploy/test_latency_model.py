"""Latencies predicted from those of other networks."""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmarks.latency_model import errors
from nas.deploy.latency_model import TERMS, LatencyModel, Sizes, left_out_errors, terms
from nas.models import DyClotNet
from nas.models.fold import fold
from nas.space.arch import Arch
from nas.space.cost import cost, layer_costs
from nas.space.named import DEFAULT_SPACE
from nas.space.space import SearchSpace

SIZES = Sizes(28, 1, 10)


@pytest.fixture(scope="module")
def archs() -> list[Arch]:
    rng = random.Random(0)
    space = SearchSpace.from_yaml(DEFAULT_SPACE)
    return [space.sample(rng) for _ in range(80)]


def test_terms_are_those_of_the_layers(archs: list[Arch]) -> None:
    for arch in archs[:20]:
        found = dict(zip(TERMS, terms(arch, SIZES), strict=True))
        blocks = sum(stage.repeats for stage in arch.stages)
        assert found["dct_blocks"] + found["pointwise_blocks"] == blocks
        layers = layer_costs(arch, *SIZES)
        depthwise = sum(layer.macs for layer in layers if layer.name.endswith(".depthwise"))
        assert found["depthwise_macs"] + found["strided_depthwise_macs"] == depthwise
        recalibrators = sum(layer.macs for layer in layers if "recalibrator" in layer.name)
        assert found["recalibrator_macs"] == recalibrators
        folded = fold(DyClotNet(arch, 1, 10))
        weights = dict(folded.named_parameters())
        assert found["stem_macs"] == weights["stem.0.weight"].numel() * 28 * 28
        assert found["pointwise_macs"] <= cost(arch, *SIZES).conv_macs * 2


def test_a_machine_that_is_linear_in_the_terms_is_predicted(archs: list[Arch]) -> None:
    rng = np.random.default_rng(0)
    scale = np.max([terms(arch, SIZES) for arch in archs], axis=0)
    weights = rng.uniform(0.2, 1, len(TERMS)) / np.maximum(scale, 1)
    true = [float(np.dot(terms(arch, SIZES), weights)) for arch in archs]
    noisy = [value * rng.normal(1, 0.03) for value in true[:30]]
    model = LatencyModel(archs[:30], noisy, SIZES)
    off = [abs(model.predict(a) / t - 1) for a, t in zip(archs[30:], true[30:], strict=True)]
    assert np.median(off) < 0.03
    assert (model.weights >= 0).all()


def test_errors_compare_with_multiply_adds(archs: list[Arch]) -> None:
    rows = [
        {
            "arch": arch.to_dict(),
            "macs": cost(arch, *SIZES).macs,
            "relative": 1 + terms(arch, SIZES)[TERMS.index("elements")] / 1e5,
            "noise": 0.01,
        }
        for arch in archs
    ]
    found = errors(rows)
    assert found["model"][0] < 0.02 < found["macs"][0]
    assert found["networks"] == 80


def test_each_network_is_predicted_by_the_model_of_the_others(archs: list[Arch]) -> None:
    archs, rng = archs[:12], np.random.default_rng(0)
    latencies = [terms(arch, SIZES)[TERMS.index("elements")] * rng.normal(1, 0.1) for arch in archs]
    naive = []
    for i in range(len(archs)):
        model = LatencyModel(archs[:i] + archs[i + 1 :], latencies[:i] + latencies[i + 1 :], SIZES)
        naive.append(abs(model.predict(archs[i]) / latencies[i] - 1))
    assert left_out_errors(archs, latencies, SIZES) == pytest.approx(naive)
    many, times = archs * 20, latencies * 20  # in groups: a copy of each stays
    assert left_out_errors(many, times, SIZES).shape == (240,)


def test_too_few_networks_are_refused(archs: list[Arch]) -> None:
    with pytest.raises(ValueError, match="3 networks and 3 latencies; accepted"):
        LatencyModel(archs[:3], [1.0, 1.0, 1.0], SIZES)
