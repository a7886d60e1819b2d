import math

import numpy as np
import pytest

from nas.samplers.anova_kernel import AnovaKernel
from nas.samplers.gaussian_process import HyperparameterDensity, fit
from nas.samplers.outcome_transform import GAP, OutcomeTransform, OutcomeTransformFamily
from nas.samplers.points import Points
from nas.space.space import Choice

CHOICES = (Choice("width", (1, 2, 3, 4, 5, 6)), Choice("depth", (1, 2, 3, 4, 5, 6)))


def architectures():
    kernel = AnovaKernel(CHOICES)
    grid = np.indices((6, 6)).reshape(2, 36).T
    costs = np.log(1.0 + grid.sum(1, keepdims=True))
    return kernel, Points(grid, (costs - costs.mean()) / costs.std())


def errors_above(floor, rng):
    quality = np.add.outer(np.linspace(-1.5, 1.5, 6), np.linspace(-1, 1, 6)).ravel()
    return floor + 0.1 * np.exp(-quality + 0.02 * rng.standard_normal(36))


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("log_gap", [-2.0, 0.0, 1.5])
def test_targets_are_standardised_and_the_jacobian_is_their_derivative(log_gap, noise):
    rng = np.random.default_rng(0)
    denoised = rng.uniform(0.05, 0.4, 20)
    errors = denoised + noise * rng.standard_normal(20)
    family = OutcomeTransformFamily(errors, denoised, np.linspace(0, 0.1, 20))
    transform, transformed = family.transform(log_gap), family(log_gap)
    targets = transformed.targets
    assert targets.mean() == pytest.approx(0, abs=1e-9)
    assert targets == pytest.approx(transform.targets(errors, denoised))
    step = 1e-7
    ends = [transform.targets(errors + sign * step, denoised) for sign in (1, -1)]
    slopes = (ends[0] - ends[1]) / (2 * step)
    assert transformed.log_jacobian == pytest.approx(np.log(slopes).sum(), rel=1e-5)
    more, less = family(log_gap + step), family(log_gap - step)
    by_gap = (more.targets - less.targets) / (2 * step)
    assert transformed.targets_slope == pytest.approx(by_gap, rel=1e-5, abs=1e-6)
    by_gap = (more.variances - less.variances) / (2 * step)
    assert transformed.variances_slope == pytest.approx(by_gap, rel=1e-5, abs=1e-6)
    by_gap = (more.log_jacobian - less.log_jacobian) / (2 * step)
    assert transformed.log_jacobian_slope == pytest.approx(by_gap, rel=1e-5)


def test_variances_of_log_errors_become_variances_of_targets() -> None:
    transform = OutcomeTransform(floor=0.0, mean=-2.0, deviation=0.5)
    assert transform.variances(np.array([0.1, 0.4]), np.array([0.01, 0.0])).tolist() == [
        pytest.approx(0.04),  # (0.1 / 0.5)^2
        0.0,
    ]
    far, near = OutcomeTransform(0.09, -2.0, 0.5).variances(
        np.array([1.0, 0.1]), np.array([0.01, 0.01])
    )
    assert near > far  # just above the floor, log(error - floor) is steep in log(error)


@pytest.mark.parametrize("block", [100, 10_000])
def test_the_density_equals_its_formula_and_its_gradient_finite_differences(monkeypatch, block):
    monkeypatch.setattr("nas.samplers.gaussian_process.CHUNK", block)
    kernel, points = architectures()
    variances = np.where(np.arange(36) % 3, 0.0, 0.05)
    errors = errors_above(0.05, np.random.default_rng(1))
    family = OutcomeTransformFamily(errors, 0.01 + 0.9 * errors, variances)
    density = HyperparameterDensity(kernel, points, family)
    u = np.random.default_rng(2).normal(0, 0.3, len(density))
    value, gradient = density(u)
    prior = kernel.hyperparameters
    theta = prior.prior_mean + prior.prior_deviation * u[:-1]
    transformed = family(math.log(GAP[0]) + GAP[1] * u[-1])
    covariance = kernel.at(theta)(points, points) + kernel.at(theta).noise * np.eye(36)
    covariance += np.diag(transformed.variances)
    of_targets = transformed.targets @ np.linalg.solve(covariance, transformed.targets)
    likelihood = -0.5 * (of_targets + np.linalg.slogdet(covariance)[1]) + transformed.log_jacobian
    assert value == pytest.approx(likelihood - 0.5 * u @ u)
    for index in range(len(u)):
        step = np.zeros(len(u))
        step[index] = 1e-5
        difference = (density(u + step)[0] - density(u - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(difference, rel=1e-3, abs=1e-4)


def test_the_fitted_floor_is_near_that_of_the_errors():
    kernel, points = architectures()
    rng = np.random.default_rng(3)
    errors = [errors_above(floor, rng) for floor in (0.3, 0.0)]
    high, low = (OutcomeTransformFamily(e, e, np.zeros(36)) for e in errors)
    assert 0.25 < fit(kernel, points, high, 0, rng)[0].transform.floor < 0.325
    assert fit(kernel, points, low, 0, rng)[0].transform.floor < 0.02


def test_equal_errors_have_a_finite_transform():
    transformed = OutcomeTransformFamily(np.full(5, 0.3), np.full(5, 0.3), np.zeros(5))(
        math.log(0.5)
    )
    assert all(np.isfinite(value).all() for value in transformed)
