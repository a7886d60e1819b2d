"""Predictions against the formulas of a Gaussian process, written with whole matrices."""

import numpy as np
import pytest

from nas.samplers.anova_kernel import Kernel, Points, covariances
from nas.samplers.gaussian_process import FitError, Fitted, Posteriors
from nas.samplers.outcome_transform import Scale
from nas.space.space import Choice

CHOICES = (
    Choice("width", (1, 2, 3, 4)),
    Choice("kind", ("dct", "pointwise")),
    Choice("hidden", (4, 8), ("kind", "dct")),
)
KERNEL = Kernel(CHOICES)
SETS = 3


def architectures(count: int, rng: np.random.Generator) -> Points:
    codes = rng.integers(0, [len(c.values) for c in CHOICES], (count, len(CHOICES)))
    codes[codes[:, 1] == 1, 2] = 2  # without effect
    return Points(codes, rng.normal(size=(count, 1)))


def some_sets(rng: np.random.Generator) -> list[Fitted]:
    prior = KERNEL.hyperparameters.prior_mean
    thetas = [prior + rng.normal(0, 0.3, len(prior)) for _ in range(SETS)]
    return [Fitted(theta, Scale(0.0, -2.0, 0.5)) for theta in thetas]


def by_formula(
    fitted: Fitted, seen: Points, targets: np.ndarray, extra: np.ndarray, at: Points
) -> tuple[np.ndarray, np.ndarray]:
    kernel = KERNEL.at(fitted.theta)
    inverse = np.linalg.inv(kernel(seen, seen) + np.diag(kernel.noise + extra))
    cross = kernel(seen, at)
    return cross.T @ inverse @ targets, kernel.diagonal(at) - ((inverse @ cross) * cross).sum(0)


def test_sets_are_looked_at_together_as_each_alone():
    rng = np.random.default_rng(0)
    kernels = [KERNEL.at(one.theta) for one in some_sets(rng)]
    a, b = architectures(70, rng), architectures(90, rng)  # more pairs than are made at a time
    together = covariances(kernels, a, b)
    pairs = KERNEL.pairs(a, b)
    for kernel, found in zip(kernels, together, strict=True):
        assert found == pytest.approx(kernel.of(pairs, pairs.room()).reshape(70, 90))
    assert pairs.entries.flags.c_contiguous


# How many observations of one history there are at each call.
@pytest.mark.parametrize("calls", [[30], [4, 5, 30], [30, 20, 30], [30, 0, 3]])
def test_predictions_follow_observations(calls: list[int]):
    rng = np.random.default_rng(1)
    sets, pool, elsewhere = some_sets(rng), architectures(40, rng), architectures(11, rng)
    posteriors = Posteriors(KERNEL, sets, pool)
    points = architectures(30, rng)
    targets, extra = rng.normal(size=(SETS, 30)), rng.uniform(0.01, 0.5, (SETS, 30))
    for count in calls:
        seen = points.part(slice(count))
        posteriors.observe(seen, targets[:, :count], extra[:, :count])
        means, variances = posteriors.predict(elsewhere)
        for i, fitted in enumerate(sets):
            given = (fitted, seen, targets[i, :count], extra[i, :count])
            mean, variance = by_formula(*given, elsewhere)
            assert means[i] == pytest.approx(mean, abs=1e-8)
            assert variances[i] == pytest.approx(variance, abs=1e-8)
        given = (sets[0], seen, targets[0, :count], extra[0, :count])
        for found, expected in zip(
            posteriors.predict_pool(), by_formula(*given, pool), strict=True
        ):
            assert found == pytest.approx(expected, abs=1e-8)
    later, _ = posteriors.predict(elsewhere, slice(1, None))
    assert later.tolist() == means[1:].tolist()


# How many observations there are at each call, and how many of them have a target.
@pytest.mark.parametrize("calls", [[(12, 9)], [(9, 9), (10, 9), (12, 9)], [(12, 6), (12, 9)]])
def test_pending_ones_enter_with_their_predicted_values(calls: list[tuple[int, int]]):
    rng = np.random.default_rng(4)
    sets, pool, points = some_sets(rng), architectures(15, rng), architectures(12, rng)
    targets, extra = rng.normal(size=(SETS, 9)), rng.uniform(0.01, 0.5, (SETS, 9))
    posteriors = Posteriors(KERNEL, sets, pool)
    for count, known in calls:
        posteriors.observe(points.part(slice(count)), targets[:, :known], extra[:, :known])
    means, variances = posteriors.predict(pool)
    smoothed = posteriors.smoothed()
    for i, fitted in enumerate(sets):
        given = fitted, points.part(slice(9)), targets[i], extra[i]
        at_points, _ = by_formula(*given, points)
        assert smoothed[i] == pytest.approx(at_points, abs=1e-8)
        every = np.append(targets[i], at_points[9:]), np.append(extra[i], np.zeros(3))
        mean, variance = by_formula(fitted, points, *every, pool)
        assert means[i] == pytest.approx(mean, abs=1e-8)
        assert means[i] == pytest.approx(by_formula(*given, pool)[0], abs=1e-8)
        assert variances[i] == pytest.approx(variance, abs=1e-8)


def test_where_errors_are_exact_their_noise_is_the_architectures_own():
    rng = np.random.default_rng(5)
    sets, pool, points = some_sets(rng), architectures(15, rng), architectures(12, rng)
    targets, extra = rng.normal(size=(SETS, 9)), rng.uniform(0.01, 0.5, (SETS, 9))
    extra[:, :4] = 0.0
    posteriors = Posteriors(KERNEL, sets, pool, exact=True)
    for count, known in ((4, 4), (6, 5), (12, 9)):
        posteriors.observe(points.part(slice(count)), targets[:, :known], extra[:, :known])
    means, variances = posteriors.predict(pool)
    smoothed = posteriors.smoothed()
    assert smoothed[:, :4] == pytest.approx(targets[:, :4])
    seen = points.part(slice(9))
    for i, fitted in enumerate(sets):
        kernel = KERNEL.at(fitted.theta)
        own = kernel(seen, seen) + kernel.noise * np.eye(9)
        true = own @ np.linalg.solve(own + np.diag(extra[i]), targets[i])
        assert smoothed[i, :9] == pytest.approx(true, abs=1e-8)
        expected, _ = by_formula(fitted, seen, targets[i], extra[i], points.part(slice(9, None)))
        assert smoothed[i, 9:] == pytest.approx(expected, abs=1e-8)
        every = np.append(targets[i], expected), np.append(extra[i], np.zeros(3))
        mean, variance = by_formula(fitted, points, *every, pool)
        assert means[i] == pytest.approx(mean, abs=1e-8)
        assert variances[i] == pytest.approx(variance + kernel.noise, abs=1e-8)
    of_first = np.array([means[0], variances[0]])
    assert np.array(posteriors.predict_pool()) == pytest.approx(of_first, abs=1e-8)


def test_another_value_at_the_same_place_is_another_observation():
    rng = np.random.default_rng(2)
    sets, pool = some_sets(rng)[:1], architectures(5, rng)
    points, extra = architectures(4, rng), np.zeros((1, 4))
    posteriors = Posteriors(KERNEL, sets, pool)
    for targets in (np.zeros((1, 4)), np.array([[0.0, 1.0, 0.0, 0.0]])):
        posteriors.observe(points, targets, extra)
        mean, _ = by_formula(sets[0], points, targets[0], extra[0], pool)
        assert posteriors.predict_pool()[0] == pytest.approx(mean, abs=1e-8)


def test_no_number_is_an_error_of_the_fit():
    rng = np.random.default_rng(3)
    sets, pool, points = some_sets(rng), architectures(5, rng), architectures(4, rng)
    posteriors = Posteriors(KERNEL, sets, pool)
    targets, extra = rng.normal(size=(SETS, 4)), np.zeros((SETS, 4))
    extra[1, 2] = np.nan
    with pytest.raises(FitError, match="singular"):
        posteriors.observe(points, targets, extra)
    posteriors.observe(points, targets, np.zeros((SETS, 4)))  # nothing of the failure is left
    assert posteriors.predict_pool()[0] == pytest.approx(
        by_formula(sets[0], points, targets[0], np.zeros(4), pool)[0], abs=1e-8
    )
