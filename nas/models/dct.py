"""The dynamic clone transformer (DCT) and the multi-path fully connected layer.

Both are from section 3 of the paper (arXiv 2106.06778). Costs are in `nas.space.cost`.

Shape suffixes: B images, C channels before and N = p * C channels after the expansion,
p clones (or paths), H x W the feature map, I inputs and O outputs of a layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Recalibrator(nn.Module):
    """Psi of equation (6): global average pooling, FC to `hidden`, ReLU, FC to `w_out`, sigmoid.

    The result is one coefficient in (0, 1) for each image and output channel.

    Args:
        w_in: input channels.
        hidden: hidden units, max(1, N // r) of a block with N output channels.
        w_out: coefficients.

    Raises:
        ValueError: a width is not a positive integer.
    """

    def __init__(self, w_in: int, hidden: int, w_out: int) -> None:
        super().__init__()
        for name, width in (("w_in", w_in), ("hidden", hidden), ("w_out", w_out)):
            require_positive(name, width)
        self.reduce = nn.Linear(w_in, hidden)
        self.restore = nn.Linear(hidden, w_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, w_in, H, W] to [B, w_out]."""
        return self.coefficients(x_BCHW.mean((2, 3)))

    def coefficients(self, x_BC: Tensor) -> Tensor:
        """The layers after the pooling: [B, w_in] to [B, w_out]."""
        g_BN: Tensor = self.restore(F.relu(self.reduce(x_BC)))
        return g_BN.sigmoid()


class DCT(nn.Module):
    """Equation (5): p clones of every channel, each shifted by its own coefficient.

    Clone k of channel c is output channel k * w_in + c. The memory format is kept.

    Args:
        w_in: input channels, N/p.
        p: number of clones; the expansion ratio.
        hidden: hidden units of the recalibrator.

    Raises:
        ValueError: a number is not a positive integer.
    """

    def __init__(self, w_in: int, p: int, hidden: int) -> None:
        super().__init__()
        require_positive("p", p)
        self.p = p
        self.recalibrator = Recalibrator(w_in, hidden, p * w_in)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, w_in, H, W] to [B, p * w_in, H, W]."""
        return add_to_clones(x_BCHW, self.recalibrator(x_BCHW))

    def extra_repr(self) -> str:  # noqa: D102
        return f"p={self.p}"


def add_to_clones(x_BCHW: Tensor, g_BN: Tensor) -> Tensor:
    """D(x, p) + g of equation (5): [B, C, H, W] and [B, p * C] give [B, p * C, H, W].

    A broadcast: `Tensor.repeat` would write the clones once more, and in NCHW memory whatever
    the format of its input.
    """
    g_BpC = g_BN.view(g_BN.shape[0], -1, x_BCHW.shape[1])
    if x_BCHW.is_contiguous(memory_format=torch.channels_last):
        x_BHW1C = x_BCHW.permute(0, 2, 3, 1).unsqueeze(3)
        y_BHWpC: Tensor = x_BHW1C + g_BpC[:, None, None]
        return y_BHWpC.flatten(3).permute(0, 3, 1, 2)
    y_BpCHW: Tensor = x_BCHW.unsqueeze(1) + g_BpC[..., None, None]
    return y_BpCHW.flatten(1, 2)


class MultiPathLinear(nn.Module):
    """Equation (2): p paths between every input and output, each with its own weight.

    y_i = sum_k sum_j w_ijk x_j. With p = 1 it is equation (1), a fully connected layer. It
    equals a fully connected layer of p * w_in inputs that receives every input p times
    (Figure 2, c and d).

    Args:
        w_in: inputs.
        w_out: outputs.
        p: paths.

    Raises:
        ValueError: a number is not a positive integer.
    """

    def __init__(self, w_in: int, w_out: int, p: int) -> None:
        super().__init__()
        for name, width in (("w_in", w_in), ("w_out", w_out), ("p", p)):
            require_positive(name, width)
        self.weight = nn.Parameter(torch.empty(p, w_out, w_in))
        # The bound of an nn.Linear with p * w_in inputs: outputs keep the variance of one path.
        bound = 1 / math.sqrt(p * w_in)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x_I: Tensor) -> Tensor:
        """[..., w_in] to [..., w_out]."""
        # Paths with the same ends add up before the product, so p costs no multiply-adds.
        return F.linear(x_I, self.weight.sum(0))

    def extra_repr(self) -> str:  # noqa: D102
        p, w_out, w_in = self.weight.shape
        return f"w_in={w_in}, w_out={w_out}, p={p}"


def require_positive(name: str, value: int) -> None:
    """Raise ValueError where a number is not a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: {value!r}; accepted: a positive integer")
