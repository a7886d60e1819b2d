"""The reference networks: their size, and how DyClotNet compares."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.models.reference import REFERENCES, mobilenet_v2
from nas.space.arch import table2_arch
from nas.space.cost import cost


def count(network: nn.Module, in_channels: int = 3) -> tuple[int, int]:
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, in_channels, 32, 32, device="meta"))
    params = sum(parameter.numel() for parameter in network.parameters())
    return counter.get_total_flops() // 2, params


def test_mobilenet_v2_has_its_known_size():
    with torch.device("meta"):
        assert count(mobilenet_v2()) == (87_976_448, 2_236_682)


def test_dyclotnet_is_smaller_by_the_published_factors():
    """2.9x less compute and 1.4x fewer parameters; convolutions alone give 2.86x."""
    ours = cost(table2_arch(alpha=2, p=8, r=2), 32, 3, 10)
    assert 2.7 <= 87_976_448 / ours.macs <= 2.9
    assert 2.7 <= 87_976_448 / ours.conv_macs <= 2.9
    assert 1.4 <= 2_236_682 / ours.params <= 1.5


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_trains_on_any_channels_and_classes(name):
    torch.manual_seed(0)
    network = REFERENCES[name].build(0.25, in_channels=1, num_classes=7)
    logits = network(torch.randn(3, 1, 16, 16))
    assert logits.shape == (3, 7)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3, 6])).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


def test_width_scales_the_cost():
    with torch.device("meta"):
        macs = [count(mobilenet_v2(width))[0] for width in (0.25, 0.5, 1.0, 1.5)]
    assert macs == sorted(macs)
    assert macs[0] < macs[2] / 6


@pytest.mark.parametrize("width", [0, -1, 5, float("nan")])
def test_bad_width_says_what_is_accepted(width):
    with pytest.raises(ValueError, match=r"^width: .*accepted: a number above 0, at most 4$"):
        mobilenet_v2(width)
