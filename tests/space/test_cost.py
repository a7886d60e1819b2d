"""Costs by formula; `tests/models` compares them with PyTorch's own counter."""

import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.space.arch import Arch, StageArch, strided_size, table2_arch
from nas.space.cost import (
    Cost,
    cost,
    dct_bottleneck_macs,
    dct_bottleneck_macs_approx,
    layer_costs,
    separable_macs,
)
from nas.space.memory import peak_memory, weight_bytes
from nas.space.space import SearchSpace

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "search_spaces" / "dyclotnet.yaml")
channels = st.integers(1, 64).map(lambda n: 8 * n)
ratios = st.sampled_from([2, 4])


def one_block(m: int, n: int, p: int, hidden: int | None) -> Arch:
    expansion = "pointwise" if hidden is None else "dct"
    return Arch(m, (StageArch(n, 1, 1, expansion, p, hidden),))


def block_macs(arch: Arch, size: int) -> int:
    """Multiply-adds of the convolutions between stem and pooling."""
    return sum(
        layer.macs
        for layer in layer_costs(arch, size, 3, 10)
        if layer.kind == "conv" and layer.name.startswith("stages")
    )


@given(channels, channels, ratios, st.integers(1, 32))
def test_equation_8_is_what_the_convolutions_of_a_dct_block_cost(m, n, p, size):
    assert dct_bottleneck_macs(m, n, p, size) == block_macs(one_block(m, n, p, 4), size)


@given(channels, channels, ratios, st.integers(1, 32))
def test_pointwise_expansion_costs_its_convolution_more(m, n, p, size):
    pointwise, dct = one_block(m, n, p, None), one_block(m, n, p, 4)
    assert block_macs(pointwise, size) - block_macs(dct, size) == size * size * n * n // p


def test_equations_7_and_8_by_hand():
    assert separable_macs(64, 128, 16) == 16 * 16 * (9 * 64 + 64 * 128)
    assert dct_bottleneck_macs(64, 128, 2, 16) == 16 * 16 * (9 * 64 + 64 * 32 + 32 * 32)
    assert dct_bottleneck_macs_approx(64, 128, 2, 16) == 16 * 16 * (64 * 32 + 32 * 32)


@given(channels, ratios, st.integers(1, 64), st.sampled_from([1, 3, 5]))
def test_the_papers_bound_holds_without_the_depthwise_term(n, p, size, kernel):
    """C1 <= 5/16 C0 for M = N, p >= 2."""
    bound = Fraction(5, 16) * separable_macs(n, n, size, kernel)
    assert dct_bottleneck_macs_approx(n, n, p, size) <= bound


def test_the_papers_bound_fails_with_the_depthwise_term():
    assert dct_bottleneck_macs(16, 16, 2, 8) > Fraction(5, 16) * separable_macs(16, 16, 8)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 4), st.integers(1, 100))
def test_layers_add_up_to_the_total(seed, size, in_channels, classes):
    arch = SPACE.sample(random.Random(seed))
    layers = layer_costs(arch, size, in_channels, classes)
    by_kind = {kind: sum(x.macs for x in layers if x.kind == kind) for kind in ("conv", "fc")}
    params = sum(layer.params for layer in layers)
    total = cost(arch, size, in_channels, classes)
    sizes = (arch, size, in_channels, classes)
    memory, flash = peak_memory(*sizes), weight_bytes(*sizes)
    assert total == Cost(by_kind["conv"], by_kind["fc"], params, memory, flash)
    assert total.macs == by_kind["conv"] + by_kind["fc"]
    assert len({layer.name for layer in layers}) == len(layers)


@given(st.integers(0, 2**32))
def test_another_block_costs_more_of_everything(seed):
    arch = SPACE.sample(random.Random(seed))
    first, *rest = arch.stages
    deeper = StageArch(**{**first.to_dict(), "hidden": first.hidden, "repeats": first.repeats + 1})
    small, large = cost(arch, 32, 3, 10), cost(Arch(arch.stem, (deeper, *rest)), 32, 3, 10)
    assert large.macs > small.macs
    assert large.params > small.params


def test_resolution_changes_multiply_adds_and_nothing_else():
    arch = table2_arch()
    small, large = cost(arch, 16, 3, 10), cost(arch, 32, 3, 10)
    assert large.conv_macs == 4 * small.conv_macs
    assert (large.fc_macs, large.params) == (small.fc_macs, small.params)


@pytest.mark.parametrize(
    ("size", "stride", "expected"), [(8, 1, 8), (8, 2, 4), (7, 2, 4), (1, 2, 1)]
)
def test_stride_rounds_up(size, stride, expected):
    assert strided_size(size, stride) == expected


def test_cost_takes_well_under_a_millisecond():
    rng = random.Random(0)
    archs = [SPACE.sample(rng) for _ in range(200)]
    best = []
    for _ in range(5):
        start = time.perf_counter()
        for arch in archs:
            cost(arch, 32, 3, 10)
        best.append((time.perf_counter() - start) / len(archs))
    assert min(best) < 2e-4


@pytest.mark.parametrize("arguments", [(0, 3, 10), (32, 0, 10), (32, 3, -1)])
def test_numbers_below_one_are_refused(arguments):
    for count in (cost, layer_costs):
        with pytest.raises(ValueError, match="accepted: positive integers"):
            count(table2_arch(), *arguments)
