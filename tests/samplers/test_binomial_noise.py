"""The binomial noise of measured errors, and the denoised errors."""

import numpy as np
import pytest

from nas.samplers.binomial_noise import BinomialNoise
from nas.stopping.neg_log_error import binomial_variance, neg_log_error

IMAGES = 400


def measured(true: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.binomial(IMAGES, true) / IMAGES


@pytest.mark.parametrize("error", [0.02, 0.1, 0.5])
def test_binomial_variance_is_that_of_measured_neg_log_errors(error: float) -> None:
    shares = measured(np.full(20_000, error), np.random.default_rng(0))
    variance = neg_log_error(1 - shares, IMAGES).var()
    assert binomial_variance(neg_log_error(1 - error, None), IMAGES) == pytest.approx(
        variance, rel=0.2
    )


def test_without_images_there_is_no_noise() -> None:
    costs, errors = np.array([[1.0], [2.0], [3.0]]), np.array([0.3, 0.1, 0.0])
    denoised, variances = BinomialNoise(costs, errors, None).denoise(costs, errors)
    assert denoised is errors
    assert variances.tolist() == [0.0, 0.0, 0.0]
    assert binomial_variance([1.0, 2.0], None).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_denoised_errors_are_nearer_to_the_true_ones(own: float) -> None:
    """With errors that lie on the trend, and with differences of their own."""
    rng = np.random.default_rng(1)
    costs = rng.uniform(0, 3, (60, 1))
    true = 0.15 * np.exp(-0.7 * costs[:, 0] + own * rng.standard_normal(60))
    errors = measured(true, rng)
    denoised, variances = BinomialNoise(costs, errors, IMAGES).denoise(costs, errors)
    small = true < 0.03
    distance = np.abs(np.log(denoised / true))[small].mean()
    before = np.abs(-neg_log_error(1 - errors, IMAGES) - np.log(true))[small].mean()
    assert distance < (0.9 if own else 0.75) * before
    assert variances[small].min() > variances[true > 0.08].max()


def test_an_error_of_zero_is_denoised_to_more_than_zero() -> None:
    costs, errors = np.arange(5.0)[:, None], np.array([0.2, 0.1, 0.04, 0.0, 0.02])
    denoised, variances = BinomialNoise(costs, errors, IMAGES).denoise(costs, errors)
    assert 0 < denoised[3] < 0.04
    assert np.isfinite(variances).all()


def test_an_error_far_from_the_trend_keeps_its_distance() -> None:
    """A network that learned nothing, while all others of its cost are good."""
    rng = np.random.default_rng(2)
    costs = rng.uniform(0, 3, (100, 1))
    errors = measured(0.15 * np.exp(-costs[:, 0]), rng)
    errors[costs[:, 0].argmax()] = 0.9
    denoised, variances = BinomialNoise(costs, errors, IMAGES).denoise(costs, errors)
    assert 0.85 < denoised.max() < 0.9
    assert variances[denoised.argmax()] < 0.01


def test_errors_that_are_not_a_share_of_images_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"from 0\.2 to 85; accepted with a number of images: 0 to 1"
    ):
        BinomialNoise(np.array([[0.0], [1.0]]), np.array([0.2, 85.0]), IMAGES)


def test_two_trials_give_only_a_weak_trend() -> None:
    costs, errors = np.array([[0.0], [1.0]]), np.array([0.2, 0.02])
    denoised, _ = BinomialNoise(costs, errors, IMAGES).denoise(costs, errors)
    assert errors[1] < denoised[1] < denoised[0] < errors[0]
