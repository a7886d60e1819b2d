"""DCT equals its equation, written out; the multi-path layer equals Figure 2."""

import pytest
import torch
from torch import nn

from nas.models.dct import DCT, MultiPathLinear, Recalibrator, add_to_clones

FORMATS = [torch.contiguous_format, torch.channels_last]


def naive_dct(dct: DCT, x: torch.Tensor) -> torch.Tensor:
    """Equations (5) and (6), one output channel at a time."""
    w_in = x.shape[1]
    pooled = torch.stack([x[:, c].flatten(1).mean(1) for c in range(w_in)], 1)
    reduce, restore = dct.recalibrator.reduce, dct.recalibrator.restore
    hidden = (pooled @ reduce.weight.T + reduce.bias).clamp(min=0)
    g = 1 / (1 + torch.exp(-(hidden @ restore.weight.T + restore.bias)))
    channels = [x[:, n % w_in] + g[:, n, None, None] for n in range(dct.p * w_in)]
    return torch.stack(channels, 1)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("w_in", "p", "size"), [(1, 1, 1), (4, 1, 5), (6, 2, 4), (3, 8, 1)])
def test_dct_is_its_equation(w_in, p, size, memory_format):
    torch.manual_seed(0)
    dct = DCT(w_in, p, hidden=3).double()
    x = torch.randn(5, w_in, size, size, dtype=torch.float64)
    x = x.to(memory_format=memory_format).requires_grad_()
    y = dct(x)
    expected = naive_dct(dct, x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(y)
    ours = torch.autograd.grad(y, [x, *dct.parameters()], upstream)
    theirs = torch.autograd.grad(expected, [x, *dct.parameters()], upstream)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("p", [1, 2, 8])
def test_clones_are_those_of_repeat_and_keep_the_memory_format(p, memory_format):
    x = torch.randn(3, 6, 5, 7).to(memory_format=memory_format)
    g = torch.randn(3, 6 * p)
    y = add_to_clones(x, g)
    assert torch.equal(y, x.repeat(1, p, 1, 1) + g[:, :, None, None])
    assert y.is_contiguous(memory_format=memory_format)


def test_every_dct_parameter_has_a_gradient():
    torch.manual_seed(0)
    dct = DCT(4, 2, hidden=8)
    # A linear loss would not reach the recalibrator through the spatial mean alone.
    (dct(torch.randn(3, 4, 5, 5)) ** 2).sum().backward()
    for name, parameter in dct.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_recalibrator_gives_coefficients_between_zero_and_one():
    g = Recalibrator(4, 2, 12)(100 * torch.randn(64, 4, 3, 3))
    assert g.shape == (64, 12)
    assert g.min() >= 0
    assert g.max() <= 1


@pytest.mark.parametrize("p", [1, 2, 5])
def test_multi_path_layer_is_a_wide_layer_with_duplicated_nodes(p):
    """Figure 2: (c), duplicated nodes, and (d), several paths, are equivalent."""
    layer = MultiPathLinear(6, 4, p).double()
    wide = nn.Linear(6 * p, 4, bias=False).double()
    with torch.no_grad():
        # The wide layer's node k * 6 + j is the k-th copy of input j.
        wide.weight.copy_(layer.weight.permute(1, 0, 2).flatten(1))
    x = torch.randn(3, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), wide(x.repeat(1, 1, p)))


def test_multi_path_layer_is_equation_2():
    layer = MultiPathLinear(3, 2, 4).double()
    x = torch.randn(3, dtype=torch.float64)
    y = [
        sum(layer.weight[k, i, j] * x[j] for k in range(4) for j in range(3)).item()
        for i in range(2)
    ]
    assert layer(x).tolist() == pytest.approx(y)


def test_multi_path_layer_starts_with_the_spread_of_a_single_path():
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    spread = [MultiPathLinear(64, 64, p)(x).std().item() for p in (1, 16)]
    assert spread[1] == pytest.approx(spread[0], rel=0.1)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: DCT(0, 2, 4), "w_in"),
        (lambda: DCT(4, 0, 4), "p"),
        (lambda: DCT(4, 2, 0), "hidden"),
        (lambda: DCT(4, 2.0, 4), "p"),
        (lambda: Recalibrator(4, 2, -1), "w_out"),
        (lambda: MultiPathLinear(4, 2, True), "p"),
        (lambda: MultiPathLinear(4, 0, 2), "w_out"),
    ],
)
def test_bad_arguments_are_named(build, name):
    with pytest.raises(ValueError, match=rf"^{name}: .*accepted: a positive integer$"):
        build()
