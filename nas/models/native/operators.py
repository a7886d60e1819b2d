"""Fused operators: a batch norm in one pass with the operators before and after it.

Each equals its plain modules in value, gradient and running statistics. The kernels need the
CPU, channels-last memory and a C++ compiler; in every other case the functions here run the
plain modules.

Shape suffixes: B images, C channels before and N = p * C channels after the expansion,
H x W the feature map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.dct import DCT
from nas.models.native import build as kernels
from nas.models.native import functions as kernel_functions


def pointwise(x_BCHW: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution; in channels-last memory a product of two matrices."""
    if not kernels.supports(x_BCHW):
        y_BNHW: Tensor = conv(x_BCHW)
        return y_BNHW
    y_BHWN = F.linear(x_BCHW.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias)
    return y_BHWN.permute(0, 3, 1, 2)


def depthwise_batch_norm(x_BCHW: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """`relu(norm(conv(x)))`, [B, C, H, W], for a depthwise 3x3 convolution without bias.

    Args:
        x_BCHW: input of the convolution.
        conv: has padding 1; at stride 2 only the norm and the ReLU are fused.
        norm: its running statistics are updated as in the plain module.
    """
    width = x_BCHW.shape[1]
    fits = _trains(norm) and _fits(x_BCHW, norm, width, None)
    if not (fits and conv.stride == (1, 1) and conv.weight.shape == (width, 1, 3, 3)):
        return batch_norm(conv(x_BCHW), norm, relu=True)
    weight_C33 = conv.weight.view(width, 3, 3)  # one piece of memory in either layout
    fused: Tensor = kernel_functions.DepthwiseBatchNorm.apply(
        x_BCHW, weight_C33, norm.weight, norm.bias, norm
    )
    return fused


def batch_norm(
    x_BCHW: Tensor, norm: nn.BatchNorm2d, relu: bool = False, residual_BCHW: Tensor | None = None
) -> Tensor:
    """`relu(norm(x))` or `norm(x) + residual`, [B, C, H, W].

    Args:
        x_BCHW: input of the batch norm.
        norm: its running statistics are updated as in the plain module.
        relu: whether a ReLU follows; excludes a residual.
        residual_BCHW: added after the norm.
    """
    assert not (relu and residual_BCHW is not None)
    if not (_trains(norm) and _fits(x_BCHW, norm, x_BCHW.shape[1], residual_BCHW)):
        y_BCHW: Tensor = norm(x_BCHW)
        y_BCHW = F.relu_(y_BCHW) if relu else y_BCHW
        return y_BCHW if residual_BCHW is None else y_BCHW.add_(residual_BCHW)
    fused: Tensor = kernel_functions.BatchNorm.apply(
        x_BCHW, norm.weight, norm.bias, residual_BCHW, relu, norm
    )
    return fused


def dct_batch_norm(
    x_BCHW: Tensor, dct: DCT, norm: nn.BatchNorm2d, residual_BNHW: Tensor | None = None
) -> Tensor:
    """`norm(dct(x)) + residual`, [B, C, H, W] to [B, N, H, W], without storing the clones.

    Args:
        x_BCHW: input of the expansion.
        dct: its recalibrator computes the coefficients.
        norm: its running statistics are updated as in the plain module; in evaluation mode
            scale and shift of the norm are folded into one multiply-add.
        residual_BNHW: added after the norm.
    """
    fits = _fits(x_BCHW, norm, dct.p * x_BCHW.shape[1], residual_BNHW)
    if fits and not norm.training and not torch.is_grad_enabled():
        return kernel_functions.dct_batch_norm_folded(x_BCHW, dct, norm, residual_BNHW)
    if not (fits and _trains(norm)):
        y_BNHW: Tensor = norm(dct(x_BCHW))
        return y_BNHW if residual_BNHW is None else y_BNHW.add_(residual_BNHW)
    reduce, restore = dct.recalibrator.reduce, dct.recalibrator.restore
    fused: Tensor = kernel_functions.DCTBatchNorm.apply(
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
    """Whether a kernel may read all tensors; kernels check nothing themselves."""
    B, C, H, W = x_BCHW.shape
    return (
        kernels.supports(x_BCHW)
        and x_BCHW.numel() > C  # one value has no variance; the plain module raises an error
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
