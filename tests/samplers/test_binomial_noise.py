"""How much of an error is luck, and what the sampler's targets make of it."""

import numpy as np
import pytest

from nas.samplers.binomial_noise import BinomialNoise
from nas.stopping.neg_log_error import binomial_variance, neg_log_error

IMAGES = 400


def measured(true: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.binomial(IMAGES, true) / IMAGES


@pytest.mark.parametrize("error", [0.02, 0.1, 0.5])
def test_luck_is_the_variance_of_goodness_over_validation_splits(error: float) -> None:
    shares = measured(np.full(20_000, error), np.random.default_rng(0))
    variance = neg_log_error(1 - shares, IMAGES).var()
    assert binomial_variance(neg_log_error(1 - error, None), IMAGES) == pytest.approx(
        variance, rel=0.2
    )


def test_without_images_nothing_is_luck() -> None:
    costs, errors = np.array([[1.0], [2.0], [3.0]]), np.array([0.3, 0.1, 0.0])
    expected, variances = BinomialNoise(costs, errors, None).without(costs, errors)
    assert expected is errors
    assert variances.tolist() == [0.0, 0.0, 0.0]
    assert binomial_variance([1.0, 2.0], None).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_expected_errors_are_nearer_to_the_true_ones(own: float) -> None:
    """The same errors but for luck, or with differences of their own."""
    rng = np.random.default_rng(1)
    costs = rng.uniform(0, 3, (60, 1))
    true = 0.15 * np.exp(-0.7 * costs[:, 0] + own * rng.standard_normal(60))
    errors = measured(true, rng)
    expected, variances = BinomialNoise(costs, errors, IMAGES).without(costs, errors)
    small = true < 0.03
    distance = np.abs(np.log(expected / true))[small].mean()
    before = np.abs(-neg_log_error(1 - errors, IMAGES) - np.log(true))[small].mean()
    assert distance < (0.9 if own else 0.75) * before
    assert variances[small].min() > variances[true > 0.08].max()


def test_an_error_of_zero_is_expected_to_be_more() -> None:
    costs, errors = np.arange(5.0)[:, None], np.array([0.2, 0.1, 0.04, 0.0, 0.02])
    expected, variances = BinomialNoise(costs, errors, IMAGES).without(costs, errors)
    assert 0 < expected[3] < 0.04
    assert np.isfinite(variances).all()


def test_what_is_far_from_the_trend_is_believed() -> None:
    """A network that learned nothing, where all others of its cost are good."""
    rng = np.random.default_rng(2)
    costs = rng.uniform(0, 3, (100, 1))
    errors = measured(0.15 * np.exp(-costs[:, 0]), rng)
    errors[costs[:, 0].argmax()] = 0.9
    expected, variances = BinomialNoise(costs, errors, IMAGES).without(costs, errors)
    assert 0.85 < expected.max() < 0.9
    assert variances[expected.argmax()] < 0.01


def test_errors_that_are_no_share_of_images_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"from 0\.2 to 85; accepted with a number of images: 0 to 1"
    ):
        BinomialNoise(np.array([[0.0], [1.0]]), np.array([0.2, 85.0]), IMAGES)


def test_a_trend_is_not_taken_from_two_trials() -> None:
    costs, errors = np.array([[0.0], [1.0]]), np.array([0.2, 0.02])
    expected, _ = BinomialNoise(costs, errors, IMAGES).without(costs, errors)
    assert errors[1] < expected[1] < expected[0] < errors[0]
