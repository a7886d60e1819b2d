"""Accuracies as -log(error), in which trials are compared, and how much of one is luck."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LEAST_ERROR = 1e-3  # where the number of validation images is not known


def goodness(accuracy: ArrayLike, images: int | None) -> Array:
    """-log of the error; an error of 0 counts as half an image.

    Args:
        accuracy: [...], in [0, 1].
        images: of the validation split.
    """
    error = 1.0 - np.asarray(accuracy, dtype=np.float64)
    if images is not None:
        error = (error * images + 0.5) / (images + 1)
    found: Array = -np.log(np.maximum(error, LEAST_ERROR if images is None else 0.0))
    return found


def luck(good: ArrayLike, images: int | None) -> Array:
    """Variance of the goodness that `images` random images show: that of a binomial share.

    Args:
        good: [...], the goodness on all images that there could be.
        images: of the validation split; where it is not known, there is no luck.
    """
    error = np.minimum(np.exp(-np.asarray(good, dtype=np.float64)), 1.0)
    if images is None:
        return np.zeros_like(error)
    variance: Array = (1 - error) / (error * (images + 1))
    return variance
