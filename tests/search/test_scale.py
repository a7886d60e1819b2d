import math

import numpy as np
import pytest

from nas.search.samplers.kernel import Kernel
from nas.search.samplers.scale import Warp
from nas.search.samplers.surrogate import Likelihood, fit
from nas.space import Choice

CHOICES = (Choice("width", (1, 2, 3, 4, 5, 6)), Choice("depth", (1, 2, 3, 4, 5, 6)))


def architectures():
    kernel = Kernel(CHOICES)
    grid = np.indices((6, 6)).reshape(2, 36).T
    costs = np.log(1.0 + grid.sum(1, keepdims=True))
    return kernel, kernel.points(grid, (costs - costs.mean()) / costs.std())


def errors_above(floor, rng):
    quality = np.add.outer(np.linspace(-1.5, 1.5, 6), np.linspace(-1, 1, 6)).ravel()
    return floor + 0.1 * np.exp(-quality + 0.02 * rng.standard_normal(36))


@pytest.mark.parametrize("log_gap", [-2.0, 0.0, 1.5])
def test_targets_are_standardised_and_the_jacobian_is_their_derivative(log_gap):
    errors = np.random.default_rng(0).uniform(0.05, 0.4, 20)
    targets, jacobian, targets_slope, jacobian_slope = Warp(errors)(log_gap)
    scale = Warp(errors).scale(log_gap)
    assert targets.mean() == pytest.approx(0, abs=1e-9)
    assert targets == pytest.approx(scale.targets(errors))
    step = 1e-7
    slopes = (scale.targets(errors + step) - scale.targets(errors - step)) / (2 * step)
    assert jacobian == pytest.approx(np.log(slopes).sum(), rel=1e-5)
    more, less = Warp(errors)(log_gap + step), Warp(errors)(log_gap - step)
    by_gap = (more.targets - less.targets) / (2 * step)
    assert targets_slope == pytest.approx(by_gap, rel=1e-5, abs=1e-6)
    assert jacobian_slope == pytest.approx((more.jacobian - less.jacobian) / (2 * step), rel=1e-5)


def test_the_gradient_of_the_likelihood_is_that_of_finite_differences():
    kernel, points = architectures()
    density = Likelihood(kernel, points, Warp(errors_above(0.05, np.random.default_rng(1))))
    u = np.random.default_rng(2).normal(0, 0.3, len(density))
    _, gradient = density(u)
    for index in range(len(u)):
        step = np.zeros(len(u))
        step[index] = 1e-5
        difference = (density(u + step)[0] - density(u - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(difference, rel=1e-3, abs=1e-4)


def test_a_floor_that_the_errors_have_is_found():
    kernel, points = architectures()
    rng = np.random.default_rng(3)
    high = fit(kernel, points, errors_above(0.3, rng), 0, rng)[0].scale.floor
    low = fit(kernel, points, errors_above(0.0, rng), 0, rng)[0].scale.floor
    assert 0.25 < high < 0.325
    assert low < 0.02


def test_equal_errors_have_a_scale():
    warped = Warp(np.full(5, 0.3))(math.log(0.5))
    assert all(np.isfinite(value).all() for value in warped)
