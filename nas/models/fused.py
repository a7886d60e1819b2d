"""The fast form of a bottleneck's operators: norms in one pass with what stands beside them.

Equal to the plain modules in value, gradient and running statistics; the plain ones stay
the reference. The mathematics is in `native/`. It serves training on the CPU in
channels-last memory; in every other case the functions here run the plain modules.

Shape suffixes: B images, C channels before and N = p * C channels after the expansion,
p clones, R hidden units of the recalibrator, H x W the feature map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nas.models import kernels
from nas.models.dct import DCT


def use_fused(network: nn.Module) -> bool:
    """Switch every part of the network that has a fast form to it; its state stays the same.

    Returns:
        Whether anything is faster now: not without a C++ compiler, which a warning says
        once, nor in a network that has no such part.
    """
    parts: list[Any] = [module for module in network.modules() if hasattr(module, "fused")]
    if not parts or not kernels.available():
        return False
    for part in parts:
        part.fused = True
    return True


def pointwise(x_BCHW: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution without bias; in channels-last memory a product of two matrices."""
    if not kernels.supports(x_BCHW):
        y_BNHW: Tensor = conv(x_BCHW)
        return y_BNHW
    return F.linear(x_BCHW.permute(0, 2, 3, 1), conv.weight.flatten(1)).permute(0, 3, 1, 2)


def depthwise_batch_norm(x_BCHW: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """`relu(norm(conv(x)))`, [B, C, H, W], for a depthwise 3x3 convolution without bias.

    Args:
        x_BCHW: input of the convolution.
        conv: of padding 1; at stride 2 only what follows it is fused.
        norm: its running statistics are updated as in the plain module.
    """
    width = x_BCHW.shape[1]
    fits = _trains(norm) and _fits(x_BCHW, norm, width, None)
    if not (fits and conv.stride == (1, 1) and conv.weight.shape == (width, 1, 3, 3)):
        return batch_norm(conv(x_BCHW), norm, relu=True)
    weight_C33 = conv.weight.view(width, 3, 3)  # one piece of memory in either layout
    fused: Tensor = _DepthwiseBatchNorm.apply(x_BCHW, weight_C33, norm.weight, norm.bias, norm)
    return fused


def batch_norm(
    x_BCHW: Tensor, norm: nn.BatchNorm2d, relu: bool = False, residual_BCHW: Tensor | None = None
) -> Tensor:
    """`relu(norm(x))` or `norm(x) + residual`, [B, C, H, W].

    Args:
        x_BCHW: input of the batch norm.
        norm: its running statistics are updated as in the plain module.
        relu: whether a ReLU follows; not with a residual.
        residual_BCHW: added after the norm.
    """
    assert not (relu and residual_BCHW is not None)
    if not (_trains(norm) and _fits(x_BCHW, norm, x_BCHW.shape[1], residual_BCHW)):
        y_BCHW: Tensor = norm(x_BCHW)
        y_BCHW = F.relu_(y_BCHW) if relu else y_BCHW
        return y_BCHW if residual_BCHW is None else y_BCHW.add_(residual_BCHW)
    fused: Tensor = _BatchNorm.apply(x_BCHW, norm.weight, norm.bias, residual_BCHW, relu, norm)
    return fused


def dct_batch_norm(
    x_BCHW: Tensor, dct: DCT, norm: nn.BatchNorm2d, residual_BNHW: Tensor | None = None
) -> Tensor:
    """`norm(dct(x)) + residual`, [B, C, H, W] to [B, N, H, W], without building the clones.

    Args:
        x_BCHW: input of the expansion.
        dct: its recalibrator gives the coefficients.
        norm: its running statistics are updated as in the plain module; in evaluation they
            are folded into one multiply-add.
        residual_BNHW: added after the norm.
    """
    fits = _fits(x_BCHW, norm, dct.p * x_BCHW.shape[1], residual_BNHW)
    if fits and not norm.training and not torch.is_grad_enabled():
        return _dct_norm_folded(x_BCHW, dct, norm, residual_BNHW)
    if not (fits and _trains(norm)):
        y_BNHW: Tensor = norm(dct(x_BCHW))
        return y_BNHW if residual_BNHW is None else y_BNHW.add_(residual_BNHW)
    reduce, restore = dct.recalibrator.reduce, dct.recalibrator.restore
    fused: Tensor = _DCTBatchNorm.apply(
        x_BCHW,
        reduce.weight,
        reduce.bias,
        restore.weight,
        restore.bias,
        norm.weight,
        norm.bias,
        residual_BNHW,
        norm,
    )
    return fused


def _trains(norm: nn.BatchNorm2d) -> bool:
    return norm.training and norm.momentum is not None


def _fits(x_BCHW: Tensor, norm: nn.BatchNorm2d, width: int, residual: Tensor | None) -> bool:
    """Whether a kernel may read all of this; it checks nothing itself."""
    B, C, H, W = x_BCHW.shape
    return (
        kernels.supports(x_BCHW)
        and x_BCHW.numel() > C  # one value has no variance; the plain module says so
        and norm.affine
        and norm.track_running_stats
        and norm.num_features == width
        and norm.weight.dtype == x_BCHW.dtype
        and (
            residual is None
            or (
                kernels.supports(residual)
                and residual.dtype == x_BCHW.dtype
                and residual.shape == (B, width, H, W)
            )
        )
    )


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor | None, Tensor | None, float, float]:
    """The statistics that a kernel updates, momentum and epsilon."""
    assert norm.momentum is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return norm.running_mean, norm.running_var, norm.momentum, norm.eps


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
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
    def backward(ctx: Any, dy_BCHW: Tensor) -> tuple[Tensor | None, ...]:
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


class _DepthwiseBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
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
    def backward(ctx: Any, dy_BCHW: Tensor) -> tuple[Tensor | None, ...]:
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


class _DCTBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
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
    def backward(ctx: Any, dy_BNHW: Tensor) -> tuple[Tensor | None, ...]:
        x_BCHW, w1_RC, w2_NR, weight_N, mean_BC, h_BR, g_BN, mean_N, invstd_N = ctx.saved_tensors
        B, C, H, W = x_BCHW.shape
        N = len(weight_N)
        dy_BNHW = dy_BNHW.contiguous(memory_format=torch.channels_last)
        dx_BCHW, dg_BN = torch.empty_like(x_BCHW), torch.empty_like(g_BN)
        dweight_N, dbias_N = torch.empty_like(weight_N), torch.empty_like(weight_N)
        constant_BC, slope_C = torch.empty_like(mean_BC), mean_BC.new_empty(C)
        kernels.call(
            "clone_backward", x_BCHW.dtype, dy_BNHW, x_BCHW, B, H * W, C, N // C, mean_BC, g_BN,
            weight_N, mean_N, invstd_N, dx_BCHW, dg_BN, dweight_N, dbias_N, constant_BC, slope_C,
        )  # fmt: skip
        # The recalibrator, backwards by hand: its gradient joins dx in the same last pass.
        dz2_BN = dg_BN.mul_(g_BN * (1 - g_BN))
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


def _dct_norm_folded(
    x_BCHW: Tensor, dct: DCT, norm: nn.BatchNorm2d, residual_BNHW: Tensor | None
) -> Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    B, C, H, W = x_BCHW.shape
    scale_N = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift_N = norm.bias - norm.running_mean * scale_N
    shift_BN = torch.addcmul(shift_N, dct.recalibrator(x_BCHW), scale_N)
    y_BNHW = _empty_map(x_BCHW, len(scale_N))
    kernels.call(
        "clone_scale", x_BCHW.dtype, x_BCHW, residual_BNHW, B, H * W, C, dct.p, scale_N, shift_BN,
        y_BNHW,
    )  # fmt: skip
    return y_BNHW


def _empty_map(x_BCHW: Tensor, width: int) -> Tensor:
    B, _, H, W = x_BCHW.shape
    return torch.empty((B, width, H, W), dtype=x_BCHW.dtype, memory_format=torch.channels_last)
