"""Accuracies as -log(error), in which trials are compared, and how much of one is luck."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LEAST_ERROR = 1e-3  # where the number of validation images is not known


def neg_log_error(accuracy: ArrayLike, images: int | None) -> Array:
    """-log of the error, [...]; an error of 0 counts as half an image.

    Args:
        accuracy: [...], in [0, 1].
        images: that it was measured on; None: errors below `LEAST_ERROR` count as that.
    """
    error = 1.0 - np.asarray(accuracy, dtype=np.float64)
    if images is None:
        error = np.maximum(error, LEAST_ERROR)
    else:
        error = (error * images + 0.5) / (images + 1)
    found: Array = -np.log(error)
    return found


def binomial_variance(good: ArrayLike, images: int | None) -> Array:
    """Variance of the goodness that `images` random images show: that of a binomial share.

    Args:
        good: [...], the goodness on all images that there could be.
        images: that it is measured on; None: there is no luck.
    """
    error = np.minimum(np.exp(-np.asarray(good, dtype=np.float64)), 1.0)
    if images is None:
        return np.zeros_like(error)
    variance: Array = (1 - error) / (error * (images + 1))
    return variance
