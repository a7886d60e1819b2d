"""The C++ kernels as differentiable functions; `operators` decides where they may run.

Each is a `torch.autograd.Function` whose forward and backward passes call kernels of
`kernels.cpp`. Arguments are not checked here.

Shape suffixes: B images, C channels before and N = p * C channels after the expansion,
p clones, R hidden units of the recalibrator, H x W the feature map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.models.dct import DCT
from nas.models.native import build as kernels


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor | None, Tensor | None, float, float]:
    """Running mean and variance, which a kernel updates, momentum and epsilon."""
    assert norm.momentum is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return norm.running_mean, norm.running_var, norm.momentum, norm.eps


class BatchNorm(torch.autograd.Function):
    """`relu(norm(x))` or `norm(x) + residual`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x_BCHW: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        residual_BCHW: Tensor | None,
        relu: bool,
        norm: nn.BatchNorm2d,
    ) -> Tensor:
        B, C, H, W = x_BCHW.shape
        y_BCHW = torch.empty_like(x_BCHW)
        mean_C, invstd_C = torch.empty_like(weight_C), torch.empty_like(weight_C)
        kernels.call(
            "norm_forward", x_BCHW.dtype, x_BCHW, B * H * W, C, weight_C, bias_C, *_running(norm),
            relu, residual_BCHW, y_BCHW, mean_C, invstd_C,
        )  # fmt: skip
        ctx.save_for_backward(x_BCHW, weight_C, bias_C, mean_C, invstd_C)
        ctx.relu = relu
        return y_BCHW

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102
        ctx: Any, dy_BCHW: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_BCHW, weight_C, bias_C, mean_C, invstd_C = ctx.saved_tensors
        B, C, H, W = x_BCHW.shape
        dy_BCHW = dy_BCHW.contiguous(memory_format=torch.channels_last)
        dx_BCHW = torch.empty_like(x_BCHW)
        dweight_C, dbias_C = torch.empty_like(weight_C), torch.empty_like(bias_C)
        kernels.call(
            "norm_backward", x_BCHW.dtype, dy_BCHW, x_BCHW, B * H * W, C, weight_C, bias_C,
            ctx.relu, mean_C, invstd_C, dx_BCHW, dweight_C, dbias_C,
        )  # fmt: skip
        dresidual_BCHW = dy_BCHW if ctx.needs_input_grad[3] else None
        return dx_BCHW, dweight_C, dbias_C, dresidual_BCHW, None, None


class DepthwiseBatchNorm(torch.autograd.Function):
    """`relu(norm(conv(x)))` for a depthwise 3x3 convolution of stride and padding 1."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x_BCHW: Tensor,
        conv_C33: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        norm: nn.BatchNorm2d,
    ) -> Tensor:
        B, C, H, W = x_BCHW.shape
        convolved_BCHW, y_BCHW = torch.empty_like(x_BCHW), torch.empty_like(x_BCHW)
        mean_C, invstd_C = torch.empty_like(weight_C), torch.empty_like(weight_C)
        kernels.call(
            "depthwise_forward", x_BCHW.dtype, x_BCHW, B, H, W, C, conv_C33, weight_C, bias_C,
            *_running(norm), convolved_BCHW, y_BCHW, mean_C, invstd_C,
        )  # fmt: skip
        ctx.save_for_backward(x_BCHW, convolved_BCHW, conv_C33, weight_C, bias_C, mean_C, invstd_C)
        return y_BCHW

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102
        ctx: Any, dy_BCHW: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_BCHW, convolved_BCHW, conv_C33, weight_C, bias_C, mean_C, invstd_C = ctx.saved_tensors
        B, C, H, W = x_BCHW.shape
        dy_BCHW = dy_BCHW.contiguous(memory_format=torch.channels_last)
        dx_BCHW, dconv_C33 = torch.empty_like(x_BCHW), torch.empty_like(conv_C33)
        dweight_C, dbias_C = torch.empty_like(weight_C), torch.empty_like(bias_C)
        kernels.call(
            "depthwise_backward", x_BCHW.dtype, dy_BCHW, x_BCHW, convolved_BCHW, B, H, W, C,
            conv_C33, weight_C, bias_C, mean_C, invstd_C, dx_BCHW, dconv_C33, dweight_C, dbias_C,
        )  # fmt: skip
        return dx_BCHW, dconv_C33, dweight_C, dbias_C, None


class DCTBatchNorm(torch.autograd.Function):
    """`norm(dct(x)) + residual`, including the two layers of the recalibrator."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x_BCHW: Tensor,
        w1_RC: Tensor,
        b1_R: Tensor,
        w2_NR: Tensor,
        b2_N: Tensor,
        weight_N: Tensor,
        bias_N: Tensor,
        residual_BNHW: Tensor | None,
        norm: nn.BatchNorm2d,
    ) -> Tensor:
        B, C, H, W = x_BCHW.shape
        N = len(weight_N)
        mean_BC, m2_BC = x_BCHW.new_empty(B, C), x_BCHW.new_empty(B, C)
        kernels.call("moments", x_BCHW.dtype, x_BCHW, B * H * W, H * W, C, mean_BC, m2_BC)
        h_BR = torch.addmm(b1_R, mean_BC, w1_RC.T).relu_()
        g_BN = torch.addmm(b2_N, h_BR, w2_NR.T).sigmoid_()
        y_BNHW = _empty_map(x_BCHW, N)
        mean_N, invstd_N = torch.empty_like(weight_N), torch.empty_like(weight_N)
        kernels.call(
            "clone_forward", x_BCHW.dtype, x_BCHW, B, H * W, C, N // C, mean_BC, m2_BC, g_BN,
            weight_N, bias_N, *_running(norm), residual_BNHW, y_BNHW, mean_N, invstd_N,
        )  # fmt: skip
        ctx.save_for_backward(x_BCHW, w1_RC, w2_NR, weight_N, mean_BC, h_BR, g_BN, mean_N, invstd_N)
        return y_BNHW

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102
        ctx: Any, dy_BNHW: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_BCHW, w1_RC, w2_NR, weight_N, mean_BC, h_BR, g_BN, mean_N, invstd_N = ctx.saved_tensors
        B, C, H, W = x_BCHW.shape
        N = len(weight_N)
        dy_BNHW = dy_BNHW.contiguous(memory_format=torch.channels_last)
        dx_BCHW, dz2_BN = torch.empty_like(x_BCHW), torch.empty_like(g_BN)
        dweight_N, dbias_N = torch.empty_like(weight_N), torch.empty_like(weight_N)
        constant_BC, slope_C = torch.empty_like(mean_BC), mean_BC.new_empty(C)
        kernels.call(
            "clone_backward", x_BCHW.dtype, dy_BNHW, x_BCHW, B, H * W, C, N // C, mean_BC, g_BN,
            weight_N, mean_N, invstd_N, dx_BCHW, dz2_BN, dweight_N, dbias_N, constant_BC, slope_C,
        )  # fmt: skip
        # The recalibrator's backward pass by hand: its gradient joins dx in the same last pass.
        dz1_BR = (dz2_BN @ w2_NR).mul_(h_BR > 0)
        constant_BC.addmm_(dz1_BR, w1_RC, alpha=-1 / (H * W))
        kernels.call(
            "clone_finish", x_BCHW.dtype, x_BCHW, B, H * W, C, mean_BC, constant_BC, slope_C,
            dx_BCHW,
        )  # fmt: skip
        return (
            dx_BCHW,
            dz1_BR.T @ mean_BC,
            dz1_BR.sum(0),
            dz2_BN.T @ h_BR,
            dz2_BN.sum(0),
            dweight_N,
            dbias_N,
            dy_BNHW if ctx.needs_input_grad[7] else None,
            None,
        )


def dct_batch_norm_folded(
    x_BCHW: Tensor, dct: DCT, norm: nn.BatchNorm2d, residual_BNHW: Tensor | None
) -> Tensor:
    """`norm(dct(x)) + residual` with running statistics, as one multiply-add; no gradient."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_N = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift_N = norm.bias - norm.running_mean * scale_N
    shift_BN = torch.addcmul(shift_N, dct.recalibrator(x_BCHW), scale_N)
    return scale_clones(x_BCHW, scale_N, shift_BN, residual_BNHW)


def scale_clones(
    x_BCHW: Tensor, scale_N: Tensor, shift_BN: Tensor, residual_BNHW: Tensor | None
) -> Tensor:
    """`scale * clones(x) + shift + residual`; no gradient."""
    B, C, H, W = x_BCHW.shape
    N = len(scale_N)
    y_BNHW = _empty_map(x_BCHW, N)
    kernels.call(
        "clone_scale", x_BCHW.dtype, x_BCHW, residual_BNHW, B, H * W, C, N // C, scale_N, shift_BN,
        y_BNHW,
    )  # fmt: skip
    return y_BNHW


def depthwise_relu(x_BCHW: Tensor, conv: nn.Conv2d) -> Tensor:
    """`relu(conv(x))` for a depthwise 3x3 convolution of stride and padding 1; no gradient."""
    B, C, H, W = x_BCHW.shape
    y_BCHW = torch.empty_like(x_BCHW)
    weight_C33 = conv.weight.view(C, 3, 3)  # one piece of memory in either layout
    kernels.call("depthwise_relu", x_BCHW.dtype, x_BCHW, B, H, W, C, weight_C33, conv.bias, y_BCHW)
    return y_BCHW


def _empty_map(x_BCHW: Tensor, width: int) -> Tensor:
    B, _, H, W = x_BCHW.shape
    return torch.empty((B, width, H, W), dtype=x_BCHW.dtype, memory_format=torch.channels_last)
