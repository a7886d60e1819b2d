"""Folded networks, plain and with kernels, equal the trained ones."""

import copy
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.models import DyClotNet
from nas.models.fold import fold
from nas.models.native import build as kernels
from nas.models.native.fused import use_fused
from nas.models.reference import mobilenet_v2
from nas.space.arch import Arch, StageArch, table2_arch
from nas.space.space import SearchSpace

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "search_spaces" / "dyclotnet.yaml")
WIDE_P = StageArch(48, 2, 2, "dct", 3, 5)  # widths that are no multiple of a vector
ARCHS = [
    table2_arch(0.25, 2, 4),
    table2_arch(0.25, 8, 16, "pointwise"),
    Arch(5, (StageArch(24, 3, 1, "dct", 4, 1), WIDE_P, StageArch(6, 1, 2, "pointwise", 3, None))),
    *(SPACE.sample(random.Random(seed)) for seed in range(3)),
]


def settled(network: nn.Module, in_channels: int, size: int, dtype: torch.dtype) -> nn.Module:
    """The network with norms that scale, shift and have seen other statistics than N(0, 1)."""
    torch.manual_seed(0)
    network.to(dtype).to(memory_format=torch.channels_last).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.5)
    for _ in range(3):
        network(images(8, in_channels, size, dtype))
    return network.eval()


def images(count: int, in_channels: int, size: int, dtype: torch.dtype) -> Tensor:
    x_BCHW = 1 + 2 * torch.randn(count, in_channels, size, size, dtype=dtype)
    return x_BCHW.to(memory_format=torch.channels_last)


@torch.inference_mode()
def largest_difference(one: nn.Module, other: nn.Module, x_BCHW: Tensor) -> float:
    expected = other(x_BCHW)
    return float((one(x_BCHW) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("arch", ARCHS, ids=str)
def test_a_folded_network_equals_the_trained_one(arch: Arch, fast: bool) -> None:
    if fast and not kernels.available():
        pytest.skip("no C++ compiler")
    for size, dtype, tolerance in ((9, torch.float64, 1e-12), (12, torch.float32, 1e-5)):
        trained = settled(DyClotNet(arch, 3, 7), 3, size, dtype)
        before = copy.deepcopy(trained.state_dict())
        folded = fold(trained).to(memory_format=torch.channels_last)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        if fast:
            use_fused(folded)
        for count in (1, 5):
            x_BCHW = images(count, 3, size, dtype)
            assert largest_difference(folded, trained, x_BCHW) < tolerance
            # The memory format of an exported network.
            assert largest_difference(folded, trained, x_BCHW.contiguous()) < tolerance
        for name, tensor in trained.state_dict().items():
            assert torch.equal(tensor, before[name]), name


def test_the_trainer_s_form_folds_alike() -> None:
    trained = settled(DyClotNet(ARCHS[2], 1, 3), 1, 8, torch.float64)
    use_fused(trained)
    assert largest_difference(fold(trained), trained, images(2, 1, 8, torch.float64)) < 1e-12


def test_mobilenet_folds_too() -> None:
    trained = settled(mobilenet_v2(0.25, 3, 10), 3, 16, torch.float64)
    folded = fold(trained)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert largest_difference(folded, trained, images(2, 3, 16, torch.float64)) < 1e-12


def test_folding_a_pointwise_block_halves_what_its_expansion_reads() -> None:
    folded = fold(DyClotNet(table2_arch(0.5, 4, 4, "pointwise"), 3, 10))
    stage = table2_arch(0.5, 4, 4, "pointwise").stages[0]
    assert folded.stages[0][0].expand.weight.shape == (stage.width, stage.width // 8, 1, 1)
