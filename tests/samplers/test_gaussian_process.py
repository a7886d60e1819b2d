"""Posteriors against the textbook formulas of a Gaussian process on whole matrices."""

import numpy as np
import pytest

from nas.samplers.anova_kernel import AnovaKernel, covariances
from nas.samplers.gaussian_process import FitError, HyperparameterSample
from nas.samplers.outcome_transform import OutcomeTransform
from nas.samplers.points import Points
from nas.samplers.posteriors import Posteriors
from nas.space.space import Choice

CHOICES = (
    Choice("width", (1, 2, 3, 4)),
    Choice("kind", ("dct", "pointwise")),
    Choice("hidden", (4, 8), ("kind", "dct")),
)
KERNEL = AnovaKernel(CHOICES)
SAMPLES = 3


def architectures(count: int, rng: np.random.Generator) -> Points:
    codes = rng.integers(0, [len(c.values) for c in CHOICES], (count, len(CHOICES)))
    codes[codes[:, 1] == 1, 2] = 2  # without effect
    return Points(codes, rng.normal(size=(count, 1)))


def draw_samples(rng: np.random.Generator) -> list[HyperparameterSample]:
    prior = KERNEL.hyperparameters.prior_mean
    thetas = [prior + rng.normal(0, 0.3, len(prior)) for _ in range(SAMPLES)]
    return [HyperparameterSample(theta, OutcomeTransform(0.0, -2.0, 0.5)) for theta in thetas]


def by_formula(
    sample: HyperparameterSample, seen: Points, targets: np.ndarray, extra: np.ndarray, at: Points
) -> tuple[np.ndarray, np.ndarray]:
    kernel = KERNEL.at(sample.theta)
    inverse = np.linalg.inv(kernel(seen, seen) + np.diag(kernel.noise + extra))
    cross = kernel(seen, at)
    return cross.T @ inverse @ targets, kernel.diagonal(at) - ((inverse @ cross) * cross).sum(0)


def test_covariances_of_several_kernels_equal_those_of_each_alone():
    rng = np.random.default_rng(0)
    kernels = [KERNEL.at(one.theta) for one in draw_samples(rng)]
    a, b = architectures(70, rng), architectures(90, rng)  # more pairs than one chunk
    pairs = KERNEL.pairs(a, b)
    for kernel, matrix in zip(kernels, covariances(kernels, a, b), strict=True):
        assert matrix == pytest.approx(kernel.of_pairs(pairs, pairs.workspace()).reshape(70, 90))
    assert pairs.entries.flags.c_contiguous


# Numbers of observations of one history, at each call.
@pytest.mark.parametrize("calls", [[30], [4, 5, 30], [30, 20, 30], [30, 0, 3]])
def test_predictions_follow_observations(calls: list[int]):
    rng = np.random.default_rng(1)
    samples, pool, elsewhere = draw_samples(rng), architectures(40, rng), architectures(11, rng)
    posteriors = Posteriors(KERNEL, samples, pool)
    points = architectures(30, rng)
    targets, extra = rng.normal(size=(SAMPLES, 30)), rng.uniform(0.01, 0.5, (SAMPLES, 30))
    for count in calls:
        seen = points.part(slice(count))
        posteriors.observe(seen, targets[:, :count], extra[:, :count])
        means, variances = posteriors.predict(elsewhere)
        for i, sample in enumerate(samples):
            given = (sample, seen, targets[i, :count], extra[i, :count])
            mean, variance = by_formula(*given, elsewhere)
            assert means[i] == pytest.approx(mean, abs=1e-8)
            assert variances[i] == pytest.approx(variance, abs=1e-8)
        given = (samples[0], seen, targets[0, :count], extra[0, :count])
        for found, expected in zip(
            posteriors.predict_pool(), by_formula(*given, pool), strict=True
        ):
            assert found == pytest.approx(expected, abs=1e-8)
    later, _ = posteriors.predict(elsewhere, slice(1, None))
    assert later.tolist() == means[1:].tolist()


# Numbers of observations at each call, and of those that have a target.
@pytest.mark.parametrize("calls", [[(12, 9)], [(9, 9), (10, 9), (12, 9)], [(12, 6), (12, 9)]])
def test_pending_trials_enter_with_their_predicted_values(calls: list[tuple[int, int]]):
    rng = np.random.default_rng(4)
    samples, pool, points = draw_samples(rng), architectures(15, rng), architectures(12, rng)
    targets, extra = rng.normal(size=(SAMPLES, 9)), rng.uniform(0.01, 0.5, (SAMPLES, 9))
    posteriors = Posteriors(KERNEL, samples, pool)
    for count, known in calls:
        posteriors.observe(points.part(slice(count)), targets[:, :known], extra[:, :known])
    means, variances = posteriors.predict(pool)
    smoothed = posteriors.smoothed()
    for i, sample in enumerate(samples):
        given = sample, points.part(slice(9)), targets[i], extra[i]
        at_points, _ = by_formula(*given, points)
        assert smoothed[i] == pytest.approx(at_points, abs=1e-8)
        every = np.append(targets[i], at_points[9:]), np.append(extra[i], np.zeros(3))
        mean, variance = by_formula(sample, points, *every, pool)
        assert means[i] == pytest.approx(mean, abs=1e-8)
        assert means[i] == pytest.approx(by_formula(*given, pool)[0], abs=1e-8)
        assert variances[i] == pytest.approx(variance, abs=1e-8)


def test_where_errors_are_exact_predictions_include_the_noise():
    rng = np.random.default_rng(5)
    samples, pool, points = draw_samples(rng), architectures(15, rng), architectures(12, rng)
    targets, extra = rng.normal(size=(SAMPLES, 9)), rng.uniform(0.01, 0.5, (SAMPLES, 9))
    extra[:, :4] = 0.0
    posteriors = Posteriors(KERNEL, samples, pool, exact=True)
    for count, known in ((4, 4), (6, 5), (12, 9)):
        posteriors.observe(points.part(slice(count)), targets[:, :known], extra[:, :known])
    means, variances = posteriors.predict(pool)
    smoothed = posteriors.smoothed()
    assert smoothed[:, :4] == pytest.approx(targets[:, :4])
    seen = points.part(slice(9))
    for i, sample in enumerate(samples):
        kernel = KERNEL.at(sample.theta)
        own = kernel(seen, seen) + kernel.noise * np.eye(9)
        true = own @ np.linalg.solve(own + np.diag(extra[i]), targets[i])
        assert smoothed[i, :9] == pytest.approx(true, abs=1e-8)
        expected, _ = by_formula(sample, seen, targets[i], extra[i], points.part(slice(9, None)))
        assert smoothed[i, 9:] == pytest.approx(expected, abs=1e-8)
        every = np.append(targets[i], expected), np.append(extra[i], np.zeros(3))
        mean, variance = by_formula(sample, points, *every, pool)
        assert means[i] == pytest.approx(mean, abs=1e-8)
        assert variances[i] == pytest.approx(variance + kernel.noise, abs=1e-8)
    of_first = np.array([means[0], variances[0]])
    assert np.array(posteriors.predict_pool()) == pytest.approx(of_first, abs=1e-8)


def test_a_changed_target_is_another_observation():
    rng = np.random.default_rng(2)
    samples, pool = draw_samples(rng)[:1], architectures(5, rng)
    points, extra = architectures(4, rng), np.zeros((1, 4))
    posteriors = Posteriors(KERNEL, samples, pool)
    for targets in (np.zeros((1, 4)), np.array([[0.0, 1.0, 0.0, 0.0]])):
        posteriors.observe(points, targets, extra)
        mean, _ = by_formula(samples[0], points, targets[0], extra[0], pool)
        assert posteriors.predict_pool()[0] == pytest.approx(mean, abs=1e-8)


def test_a_nan_is_a_fit_error():
    rng = np.random.default_rng(3)
    samples, pool, points = draw_samples(rng), architectures(5, rng), architectures(4, rng)
    posteriors = Posteriors(KERNEL, samples, pool)
    targets, extra = rng.normal(size=(SAMPLES, 4)), np.zeros((SAMPLES, 4))
    extra[1, 2] = np.nan
    with pytest.raises(FitError, match="singular"):
        posteriors.observe(points, targets, extra)
    posteriors.observe(points, targets, np.zeros((SAMPLES, 4)))  # the failure left nothing behind
    assert posteriors.predict_pool()[0] == pytest.approx(
        by_formula(samples[0], points, targets[0], np.zeros(4), pool)[0], abs=1e-8
    )
