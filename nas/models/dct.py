"""Dynamic clone transformer and the multi-path fully connected layer (paper, section 3).

Shape suffixes: B images, C channels before and N = p * C channels after the expansion,
p clones (or paths), H x W the feature map, I inputs and O outputs of a layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Recalibrator(nn.Module):
    """Psi of equation (6): GAP, FC to `hidden`, ReLU, FC to `w_out`, sigmoid.

    One coefficient in (0, 1) for each image and output channel.
    """

    def __init__(self, w_in: int, hidden: int, w_out: int) -> None:
        super().__init__()
        for name, width in (("w_in", w_in), ("hidden", hidden), ("w_out", w_out)):
            _require_positive(name, width)
        self.reduce = nn.Linear(w_in, hidden)
        self.restore = nn.Linear(hidden, w_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, w_in, H, W] to [B, w_out]."""
        return self.coefficients(x_BCHW.mean((2, 3)))

    def coefficients(self, x_BC: Tensor) -> Tensor:
        """The part after the pooling: [B, w_in] to [B, w_out]."""
        g_BN: Tensor = self.restore(F.relu(self.reduce(x_BC)))
        return g_BN.sigmoid()


class DCT(nn.Module):
    """Equation (5): p clones of every channel, each shifted by its own coefficient.

    Clone k of channel c is output channel k * w_in + c. The memory format is kept.

    Args:
        w_in: input channels, N/p.
        p: number of clones.
        hidden: hidden units of the recalibrator.
    """

    def __init__(self, w_in: int, p: int, hidden: int) -> None:
        super().__init__()
        _require_positive("p", p)
        self.p = p
        self.recalibrator = Recalibrator(w_in, hidden, p * w_in)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, w_in, H, W] to [B, p * w_in, H, W]."""
        return add_to_clones(x_BCHW, self.recalibrator(x_BCHW))

    def extra_repr(self) -> str:  # noqa: D102
        return f"p={self.p}"


def add_to_clones(x_BCHW: Tensor, g_BN: Tensor) -> Tensor:
    """D(x, p) + g as one broadcast: [B, C, H, W] and [B, p * C] give [B, p * C, H, W].

    `Tensor.repeat` would write the clones once more, and in NCHW whatever its input.
    """
    g_BpC = g_BN.view(g_BN.shape[0], -1, x_BCHW.shape[1])
    if x_BCHW.is_contiguous(memory_format=torch.channels_last):
        x_BHW1C = x_BCHW.permute(0, 2, 3, 1).unsqueeze(3)
        y_BHWpC: Tensor = x_BHW1C + g_BpC[:, None, None]
        return y_BHWpC.flatten(3).permute(0, 3, 1, 2)
    y_BpCHW: Tensor = x_BCHW.unsqueeze(1) + g_BpC[..., None, None]
    return y_BpCHW.flatten(1, 2)


class MultiPathLinear(nn.Module):
    """Equation (2): p paths, each with a weight of its own, between every input and output.

    y_i = sum_k sum_j w_ijk x_j; with p = 1 it is equation (1), a fully connected layer.
    It equals a fully connected layer of p * w_in inputs that is given every input p times
    (Figure 2, c and d).
    """

    def __init__(self, w_in: int, w_out: int, p: int) -> None:
        super().__init__()
        for name, width in (("w_in", w_in), ("w_out", w_out), ("p", p)):
            _require_positive(name, width)
        self.weight = nn.Parameter(torch.empty(p, w_out, w_in))
        # As nn.Linear starts with p * w_in inputs: an output's variance is that of one path.
        bound = 1 / math.sqrt(p * w_in)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x_I: Tensor) -> Tensor:
        """[..., w_in] to [..., w_out]."""
        # Paths with the same ends add up before the product, so p costs no multiply-adds.
        return F.linear(x_I, self.weight.sum(0))

    def extra_repr(self) -> str:  # noqa: D102
        p, w_out, w_in = self.weight.shape
        return f"w_in={w_in}, w_out={w_out}, p={p}"


def _require_positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: {value!r}; accepted: a positive integer")
