"""The bottleneck equals its wiring, written out with functions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.models import Bottleneck

CASES = [
    # w_in, w_out, stride, expansion, p, hidden
    (8, 8, 1, "dct", 2, 4),
    (8, 8, 1, "pointwise", 2, None),
    (8, 16, 1, "dct", 4, 1),
    (8, 8, 2, "dct", 1, 2),
    (3, 16, 2, "pointwise", 8, None),
]


def norm(x: torch.Tensor, layer: nn.BatchNorm2d) -> torch.Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    var = x.var((0, 2, 3), unbiased=False, keepdim=True)
    scale, shift = layer.weight[:, None, None], layer.bias[:, None, None]
    return (x - mean) / torch.sqrt(var + layer.eps) * scale + shift


def naive_block(block: Bottleneck, x: torch.Tensor, p: int) -> torch.Tensor:
    """docs/design.md, section 2: the placement decides whether a deep network trains."""
    w_in = x.shape[1]
    stride = block.depthwise.stride
    y = F.conv2d(x, block.depthwise.weight, stride=stride, padding=1, groups=w_in)
    y = norm(y, block.depthwise_norm).clamp(min=0)
    contracted = norm(
        torch.einsum("bchw,oc->bohw", y, block.contract.weight[:, :, 0, 0]), block.contract_norm
    )
    mixed = norm(
        torch.einsum("bchw,oc->bohw", contracted, block.mix.weight[:, :, 0, 0]), block.mix_norm
    )
    y = torch.cat([contracted, mixed], 1)
    if isinstance(block.expand, nn.Conv2d):
        y = torch.einsum("bchw,oc->bohw", y, block.expand.weight[:, :, 0, 0])
    else:
        y = y.repeat(1, p, 1, 1) + block.expand.recalibrator(y)[:, :, None, None]
    y = norm(y, block.expand_norm)
    return y + x if y.shape == x.shape and stride == (1, 1) else y


def randomise_norms(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_block_is_wired_as_designed(case, memory_format):
    torch.manual_seed(0)
    block = Bottleneck(*case).double().to(memory_format=memory_format)
    randomise_norms(block)
    x = torch.randn(4, case[0], 7, 7, dtype=torch.float64).to(memory_format=memory_format)
    x.requires_grad_()
    y = block(x)
    expected = naive_block(block, x, case[4])
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    assert y.shape == (4, case[1], 7 if case[2] == 1 else 4, 7 if case[2] == 1 else 4)
    assert y.is_contiguous(memory_format=memory_format)
    upstream = torch.randn_like(y)
    ours = torch.autograd.grad(y, [x, *block.parameters()], upstream)
    theirs = torch.autograd.grad(expected, [x, *block.parameters()], upstream)
    names = ["input", *(name for name, _ in block.named_parameters())]
    for name, one, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8, msg=name)


def test_input_is_left_as_it_was():
    """The shortcut is added in place, but to the block's own result."""
    x = torch.randn(2, 8, 4, 4)
    before = x.clone()
    Bottleneck(8, 8, 1, "dct", 2, 4)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("expansion", ["dct", "pointwise"])
def test_every_block_parameter_has_a_gradient(expansion):
    torch.manual_seed(0)
    block = Bottleneck(8, 16, 1, expansion, 2, 8 if expansion == "dct" else None)
    (block(torch.randn(4, 8, 5, 5)) ** 3).sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_single_image_of_one_pixel_in_evaluation():
    block = Bottleneck(8, 8, 2, "dct", 2, 4).eval()
    assert torch.isfinite(block(torch.randn(1, 8, 1, 1))).all()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ((8, 10, 1, "dct", 2, 4), "width: 10 is not a multiple of 2p; accepted: multiples of 4"),
        ((8, 8, 3, "dct", 2, 4), "stride: 3 is out of range; accepted: 1 to 2"),
        ((8, 8, 1, "clone", 2, 4), "expansion: 'clone' is not known; accepted: dct, pointwise"),
        ((8, 8, 1, "dct", 2, None), "hidden: None is not an integer; accepted: 1 to 4096"),
        ((8, 8, 1, "pointwise", 2, 4), "hidden: 4 has no meaning in a pointwise stage"),
        ((8, 8, 1, "dct", 0, 4), "p: 0 is out of range; accepted: 1 to 64"),
    ],
)
def test_bad_arguments_say_what_is_accepted(case, message):
    with pytest.raises(ValueError, match="^" + message):
        Bottleneck(*case)
