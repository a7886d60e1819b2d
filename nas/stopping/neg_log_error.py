"""The scale on which accuracies are compared, g = -log(error), and its binomial noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

MIN_ERROR = 1e-3  # where the number of validation images is unknown


def neg_log_error(accuracy: ArrayLike, images: int | None) -> Array:
    """Negative log error, [...]; an error of 0 counts as half an image.

    Args:
        accuracy: [...], in [0, 1].
        images: number of validation images; None: errors below `MIN_ERROR` are raised to it.
    """
    error = 1.0 - np.asarray(accuracy, dtype=np.float64)
    if images is None:
        error = np.maximum(error, MIN_ERROR)
    else:
        error = (error * images + 0.5) / (images + 1)
    negative_log: Array = -np.log(error)
    return negative_log


def binomial_variance(neg_log_errors: ArrayLike, images: int | None) -> Array:
    """Variance of the negative log error measured on random images, by the delta method.

    The number of wrong images is binomial, so that log(error) has a variance of about
    (1 - error) / (error * images).

    Args:
        neg_log_errors: [...], of the true errors.
        images: number of validation images; None: measurements have no noise.
    """
    error = np.minimum(np.exp(-np.asarray(neg_log_errors, dtype=np.float64)), 1.0)
    if images is None:
        return np.zeros_like(error)
    variance: Array = (1 - error) / (error * (images + 1))
    return variance
