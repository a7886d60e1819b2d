"""Latency of an architecture, predicted from measurements of other networks on the machine.

The model is a sum over layers, linear in what a layer does: a time for each block, for each
multiply-add of a kind of layer, and for each element that is read or written. The weights, which
are not negative, are learned from whole networks: timed by itself a layer of such small networks
takes another time than inside one, where its input is still in the cache. It is the layer-wise
latency model of ProxylessNAS (Cai, Zhu and Han, ICLR 2019) with a formula in place of its table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nas.format import format_number
from nas.space.arch import Arch, strided_size

MIN_NETWORKS = 5  # measured, that a model needs
MOST_GROUPS = 200  # fits that `left_out_errors` makes
RIDGE = 1e-3  # on the weight of a term that is scaled to at most 1, beside relative errors

Array = NDArray[np.float64]

TERMS = (
    "network",  # 1
    "dct_blocks",
    "pointwise_blocks",
    "stem_macs",
    "depthwise_macs",
    "strided_depthwise_macs",  # by another kernel
    "pointwise_macs",  # of 1x1 convolutions
    "recalibrator_macs",
    "elements",  # read and written by convolutions of blocks
    "clone_elements",  # written by DCT
    "sum_elements",  # of shortcuts
)


class Sizes(NamedTuple):
    """Of a data set."""

    image_size: int  # side of the square images, pixels
    in_channels: int
    num_classes: int


def terms(arch: Arch, sizes: Sizes) -> list[float]:
    """The value of each of `TERMS` for the folded network, a batch of one image."""
    size, w_in = sizes.image_size, arch.stem
    found = dict.fromkeys(TERMS, 0.0)
    found["network"] = 1
    found["stem_macs"] = 9 * sizes.in_channels * w_in * size * size
    for stage in arch.stages:
        for index in range(stage.repeats):
            stride, w_out = stage.stride if index == 0 else 1, stage.width
            before, size = size * size, strided_size(size, stride)
            pixels, half, clone = size * size, w_out // (2 * stage.p), w_out // stage.p
            found["depthwise_macs" if stride == 1 else "strided_depthwise_macs"] += (
                9 * w_in * pixels
            )
            found["elements"] += w_in * (before + pixels)
            if stage.expansion == "dct":
                hidden = stage.hidden or 0
                found["dct_blocks"] += 1
                found["pointwise_macs"] += w_in * clone * pixels
                found["elements"] += (w_in + clone) * pixels
                found["recalibrator_macs"] += (clone + w_out) * hidden
                found["clone_elements"] += w_out * pixels
            else:
                found["pointwise_blocks"] += 1
                found["pointwise_macs"] += (w_in + w_out) * half * pixels
                found["elements"] += (w_in + 2 * half + w_out) * pixels
            if stride == 1 and w_in == w_out:
                found["sum_elements"] += w_out * pixels
            w_in = w_out
    return list(found.values())


class LatencyModel:
    """Weights of `TERMS`, fitted to the measured latencies of networks on one machine.

    The sum of the squared relative errors is smallest, with a little ridge and no negative
    weight. Latencies are in any unit, such as multiples of a control network; predictions are
    in the same.

    Args:
        archs: that were measured, `MIN_NETWORKS` or more.
        latencies: of each, over 0.
        sizes: of the data set's images.

    Raises:
        ValueError: too few networks, or a latency that is not over 0.
    """

    def __init__(self, archs: Sequence[Arch], latencies: Sequence[float], sizes: Sizes) -> None:
        if len(archs) < MIN_NETWORKS or len(archs) != len(latencies) or min(latencies) <= 0:
            raise ValueError(
                f"{format_number(len(archs), 'network')} and "
                f"{format_number(len(latencies), 'latency', 'latencies')}; accepted: a latency "
                f"over 0 for each of {MIN_NETWORKS} networks or more"
            )
        self.sizes = sizes
        self.weights = _fit(_rows(archs, sizes), np.array(latencies, dtype=np.float64))

    def predict(self, arch: Arch) -> float:
        """Expected latency, in the unit of the measurements."""
        return float(np.dot(terms(arch, self.sizes), self.weights))


def left_out_errors(archs: Sequence[Arch], latencies: Sequence[float], sizes: Sizes) -> Array:
    """Relative errors of N networks, [N], each predicted by the model of the others.

    Of more than `MOST_GROUPS` networks, a `MOST_GROUPS`-th is left out at a time.

    Args:
        archs: that were measured, more than `MIN_NETWORKS`.
        latencies: of each, over 0.
        sizes: of the data set's images.
    """
    rows, measured = _rows(archs, sizes), np.array(latencies, dtype=np.float64)
    group = np.arange(len(rows)) % MOST_GROUPS
    predicted = np.empty(len(rows))
    for left_out in range(min(MOST_GROUPS, len(rows))):
        here = group == left_out
        predicted[here] = rows[here] @ _fit(rows[~here], measured[~here])
    errors: Array = np.abs(predicted / measured - 1)
    return errors


def _rows(archs: Sequence[Arch], sizes: Sizes) -> Array:
    return np.array([terms(arch, sizes) for arch in archs], dtype=np.float64)


def _fit(rows: Array, measured: Array) -> Array:
    """Weights of the terms, from the terms and latencies of networks."""
    scale = np.maximum(rows.max(0), 1)
    relative = rows / scale / measured[:, None]
    count = rows.shape[1]
    weights, _ = nnls(
        np.vstack([relative, RIDGE * np.eye(count)]),
        np.concatenate([np.ones(len(rows)), np.zeros(count)]),
    )
    fitted: Array = weights / scale
    return fitted
