"""Fake quantisation: ranges, roundings and what is rounded.

The comparison with ONNX Runtime is in tests/deploy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.data import Split
from nas.models import DyClotNet
from nas.models.fake_quantise import (
    BINS,
    CALIBRATION_IMAGES,
    FEWEST_IMAGES,
    PERCENTILE,
    Activation,
    QuantisedDyClotNet,
    QuantisedLayer,
    calibration_images,
    fake_quantise,
)
from nas.models.fold import fold
from nas.space.arch import Arch, StageArch

ARCH = Arch(8, (StageArch(16, 2, 1, "dct", 2, 4), StageArch(32, 2, 2, "pointwise", 4, None)))


def network() -> DyClotNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = DyClotNet(ARCH, 3, 10)
        made(torch.randn(64, 3, 16, 16))  # moves the statistics of its norms
    return made.eval()


def images(count: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def naive_range(x: Tensor) -> tuple[float, float]:
    """As ONNX Runtime finds it: from a histogram of absolute values."""
    values = np.abs(x.numpy().ravel())
    counts, edges = np.histogram(values, bins=BINS)
    shares = np.cumsum(counts / counts.sum())
    most = float(edges[np.searchsorted(shares, PERCENTILE / 100)])
    return max(-most, float(x.min())), min(most, float(x.max()))


@pytest.mark.parametrize(
    "change",
    [
        torch.clone,
        lambda x: 3 * x + 1,
        torch.relu,
        torch.sigmoid,
        lambda x: x**3,
        lambda x: -(x**2),
    ],
    ids=["normal", "shifted", "relu", "sigmoid", "cubed", "negative"],
)
def test_a_range_is_the_percentile_and_holds_zero(change: Callable[[Tensor], Tensor]) -> None:
    x = change(torch.randn(7, 16, 9, 9, generator=torch.Generator().manual_seed(0)))
    activation = Activation()
    assert torch.equal(activation(x), x)  # the first call calibrates
    low, high = naive_range(x)
    step = (max(high, 0.0) - min(low, 0.0)) / 255
    fine = torch.linspace(2 * min(low, -1.0), 2 * max(high, 1.0), 100_000)
    rounded = activation(fine)
    values = rounded.unique()
    assert len(values) == 256
    assert 0.0 in values
    assert values.diff() == pytest.approx(step, rel=1e-4)
    assert float(values[0]) == pytest.approx(min(low, 0.0), abs=0.51 * step)
    assert float(values[-1]) == pytest.approx(max(high, 0.0), abs=0.51 * step)
    inside = (fine >= values[0]) & (fine <= values[-1])
    assert float((rounded - fine)[inside].abs().max()) <= 0.5001 * step
    assert torch.equal(activation(rounded), rounded)


@pytest.mark.parametrize("value", [0.0, 3.0, float("nan"), float("inf")])
def test_a_tensor_of_one_value_is_no_error(value: float) -> None:
    activation, x = Activation(), torch.full((2, 3), value)
    activation(x)
    torch.testing.assert_close(activation(x), x.clamp(max=255), equal_nan=True)


def test_weights_have_at_most_255_values_in_each_channel_or_layer() -> None:
    quantised = fake_quantise(network(), images())
    layers = [part.layer for part in quantised.modules() if isinstance(part, QuantisedLayer)]
    assert len(layers) == 1 + 2 * (1 + 1 + 2) + 2 * (1 + 1 + 1) + 1
    for layer in layers:
        convolution = isinstance(layer, torch.nn.Conv2d)
        for channel in layer.weight.flatten(1) if convolution else [layer.weight.flatten()]:
            steps = channel / (channel.abs().max() / 127)
            torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_the_network_stays_and_the_copy_computes_almost_the_same() -> None:
    trained, x = network(), images(200, seed=2)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    with torch.inference_mode():
        float_BK, int8_BK = fold(trained)(x), fake_quantise(trained, images())(x)
        again_BK = fake_quantise(trained, images())(x)
    assert all(torch.equal(before[name], now) for name, now in trained.state_dict().items())
    assert torch.equal(int8_BK, again_BK)
    assert not torch.equal(int8_BK, float_BK)
    assert float((int8_BK - float_BK).norm() / float_BK.norm()) < 0.1
    assert len(int8_BK.unique()) <= 256


def trainable() -> tuple[torch.nn.Module, QuantisedDyClotNet]:
    """A folded network, and its int8 form that trains it."""
    folded = fold(network())
    for name, parameter in folded.named_parameters():
        if name.endswith("reduce.bias"):  # so that no recalibrator is silent at random
            parameter.fill_(0.5)
    quantised = QuantisedDyClotNet(folded).requires_grad_()
    quantised.calibrate(images())
    quantised.train()
    return folded, quantised


def test_training_rounds_as_evaluation_does_and_keeps_its_weights() -> None:
    folded, quantised = trainable()
    before = [parameter.clone() for parameter in folded.parameters()]
    x = images(200, seed=2)
    with torch.inference_mode():
        expected_BK = fake_quantise(folded, images())(x)
    assert torch.equal(quantised(x).detach(), expected_BK)
    assert all(map(torch.equal, before, folded.parameters()))


def test_gradients_pass_a_rounding_within_its_range() -> None:
    activation = Activation()
    activation(torch.tensor([-1.0, 1.55]))  # steps of 0.01
    x = torch.tensor([-1.2, -0.999, 0.123, 1.549, 1.7], requires_grad=True)
    (activation(x) * torch.arange(1.0, 6.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]


def test_every_parameter_learns() -> None:
    folded, quantised = trainable()
    before = {name: parameter.clone() for name, parameter in folded.named_parameters()}
    labels_B = torch.arange(64) % 10
    optimizer = torch.optim.Adam(quantised.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(quantised(images()), labels_B)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    still = [name for name, now in folded.named_parameters() if torch.equal(before[name], now)]
    assert still == []


def test_ranges_are_those_of_the_present_weights() -> None:
    folded, quantised = trainable()
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.mul_(1.1)
    quantised.calibrate(images())
    quantised.train()
    x = images(50, seed=2)
    with torch.inference_mode():
        assert torch.equal(quantised(x), fake_quantise(folded, images())(x))


def test_calibration_images_are_spread_over_the_split_and_fewer_where_they_are_large() -> None:
    def split(count: int, side: int) -> Split:
        pixels = torch.zeros(count, 1, 1, 1, dtype=torch.uint8).expand(-1, 1, side, side)
        return Split(pixels, torch.arange(count))

    assert calibration_images(split(100, 8)).labels.tolist() == list(range(100))
    labels = calibration_images(split(5000, 32)).labels
    assert (len(labels), int(labels[0]), int(labels[-1])) == (CALIBRATION_IMAGES, 0, 4999)
    assert set(labels.diff().tolist()) <= {9, 10}
    assert len(calibration_images(split(5000, 64))) == CALIBRATION_IMAGES // 4
    assert len(calibration_images(split(200, 256))) == FEWEST_IMAGES


def test_other_networks_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^network: Linear; accepted: a DyClotNet$"):
        fake_quantise(torch.nn.Linear(2, 2), images())
