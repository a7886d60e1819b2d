import math

import numpy as np
import pytest

from nas.samplers.anova_kernel import Kernel, Points
from nas.samplers.gaussian_process import Likelihood, fit
from nas.samplers.outcome_transform import GAP, Scale, Warp
from nas.space.space import Choice

CHOICES = (Choice("width", (1, 2, 3, 4, 5, 6)), Choice("depth", (1, 2, 3, 4, 5, 6)))


def architectures():
    kernel = Kernel(CHOICES)
    grid = np.indices((6, 6)).reshape(2, 36).T
    costs = np.log(1.0 + grid.sum(1, keepdims=True))
    return kernel, Points(grid, (costs - costs.mean()) / costs.std())


def errors_above(floor, rng):
    quality = np.add.outer(np.linspace(-1.5, 1.5, 6), np.linspace(-1, 1, 6)).ravel()
    return floor + 0.1 * np.exp(-quality + 0.02 * rng.standard_normal(36))


@pytest.mark.parametrize("luck", [0.0, 0.02])
@pytest.mark.parametrize("log_gap", [-2.0, 0.0, 1.5])
def test_targets_are_standardised_and_the_jacobian_is_their_derivative(log_gap, luck):
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.05, 0.4, 20)
    errors = expected + luck * rng.standard_normal(20)
    warp = Warp(errors, expected, np.linspace(0, 0.1, 20))
    scale, warped = warp.scale(log_gap), warp(log_gap)
    targets = warped.targets
    assert targets.mean() == pytest.approx(0, abs=1e-9)
    assert targets == pytest.approx(scale.targets(errors, expected))
    step = 1e-7
    ends = [scale.targets(errors + sign * step, expected) for sign in (1, -1)]
    slopes = (ends[0] - ends[1]) / (2 * step)
    assert warped.jacobian == pytest.approx(np.log(slopes).sum(), rel=1e-5)
    more, less = warp(log_gap + step), warp(log_gap - step)
    by_gap = (more.targets - less.targets) / (2 * step)
    assert warped.targets_slope == pytest.approx(by_gap, rel=1e-5, abs=1e-6)
    by_gap = (more.variances - less.variances) / (2 * step)
    assert warped.variances_slope == pytest.approx(by_gap, rel=1e-5, abs=1e-6)
    by_gap = (more.jacobian - less.jacobian) / (2 * step)
    assert warped.jacobian_slope == pytest.approx(by_gap, rel=1e-5)


def test_a_factor_of_error_is_about_as_much_of_the_target() -> None:
    scale = Scale(floor=0.0, mean=-2.0, deviation=0.5)
    assert scale.variances(np.array([0.1, 0.4]), np.array([0.01, 0.0])).tolist() == [
        pytest.approx(0.04),  # (0.1 / 0.5)^2
        0.0,
    ]
    far, near = Scale(0.09, -2.0, 0.5).variances(np.array([1.0, 0.1]), np.array([0.01, 0.01]))
    assert near > far  # just above the floor a factor of error is much more of its logarithm


@pytest.mark.parametrize("block", [100, 10_000])
def test_the_likelihood_is_that_of_its_formula_and_its_gradient_of_differences(monkeypatch, block):
    monkeypatch.setattr("nas.samplers.gaussian_process.CHUNK", block)
    kernel, points = architectures()
    variances = np.where(np.arange(36) % 3, 0.0, 0.05)
    errors = errors_above(0.05, np.random.default_rng(1))
    warp = Warp(errors, 0.01 + 0.9 * errors, variances)
    density = Likelihood(kernel, points, warp)
    u = np.random.default_rng(2).normal(0, 0.3, len(density))
    value, gradient = density(u)
    prior = kernel.hyperparameters
    theta = prior.prior_mean + prior.prior_deviation * u[:-1]
    warped = warp(math.log(GAP[0]) + GAP[1] * u[-1])
    covariance = kernel.at(theta)(points, points) + kernel.at(theta).noise * np.eye(36)
    covariance += np.diag(warped.variances)
    of_targets = warped.targets @ np.linalg.solve(covariance, warped.targets)
    likelihood = -0.5 * (of_targets + np.linalg.slogdet(covariance)[1]) + warped.jacobian
    assert value == pytest.approx(likelihood - 0.5 * u @ u)
    for index in range(len(u)):
        step = np.zeros(len(u))
        step[index] = 1e-5
        difference = (density(u + step)[0] - density(u - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(difference, rel=1e-3, abs=1e-4)


def test_a_floor_that_the_errors_have_is_found():
    kernel, points = architectures()
    rng = np.random.default_rng(3)
    errors = [errors_above(floor, rng) for floor in (0.3, 0.0)]
    high, low = (Warp(e, e, np.zeros(36)) for e in errors)
    assert 0.25 < fit(kernel, points, high, 0, rng)[0].scale.floor < 0.325
    assert fit(kernel, points, low, 0, rng)[0].scale.floor < 0.02


def test_equal_errors_have_a_scale():
    warped = Warp(np.full(5, 0.3), np.full(5, 0.3), np.zeros(5))(math.log(0.5))
    assert all(np.isfinite(value).all() for value in warped)
