"""The covariance against its formula, written as loops over choices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nas.search.samplers.kernel import JITTER, OFFSET, Kernel, Points
from nas.space import Choice

CHOICES = (
    Choice("width", (1, 2, 3)),
    Choice("kind", ("dct", "pointwise")),
    Choice("hidden", (4, 8), ("kind", "dct")),
    Choice("depth", (1, 2, 3, 4)),
)


def matern(distance: float) -> float:
    q = math.sqrt(5) * distance
    return (1 + q + q * q / 3) * math.exp(-q)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_formula(count: int) -> None:
    choices = CHOICES[:count]
    kernel = Kernel(choices)
    rng = np.random.default_rng(count)
    codes = rng.integers(0, [len(c.values) for c in choices], (6, count))
    if count > 2:
        codes[:3, 2] = len(CHOICES[2].values)  # without effect
    costs = rng.normal(size=(6, 1))
    points = Points(codes, costs)
    mean = kernel.hyperparameters.prior_mean
    theta = mean + rng.normal(0, 0.3, len(mean))
    found = kernel.at(theta)(points, points)
    slices = kernel.hyperparameters.slices
    named = {name: np.exp(theta[part]).tolist() for name, part in slices.items()}
    one = {name: values[0] for name, values in named.items()}

    def similarity(index: int, x: int, y: int, length: float) -> float:
        size = len(choices[index].values)
        if not choices[index].ordinal:
            return math.exp(-float(x != y) / length)
        far = size in (x, y)
        distance = 2.0 * (x != y) if far else abs(x - y) * 2.0 / (size - 1)
        return matern(distance / length)

    def mean_over_tuples(terms: list[float], order: int) -> float:
        tuples = list(itertools.permutations(range(count), order))
        total = 0.0
        for each in tuples:
            closeness = math.exp(-(abs(each[0] - each[1]) - 1) / one["decay"]) if order == 2 else 1
            total += closeness * math.prod(terms[i] for i in each)
        return total / len(tuples) if tuples else 0.0

    for row, column in itertools.product(range(6), repeat=2):
        a, b = codes[row].tolist(), codes[column].tolist()
        t, u = costs[row, 0], costs[column, 0]
        terms = [
            named["weight"][i]
            * similarity(i, a[i], b[i], one["common_length"] * named["length"][i])
            for i in range(count)
        ]
        product = math.prod(
            similarity(i, a[i], b[i], one["common_all_length"] * named["all_length"][i])
            for i in range(count)
        )
        expected = (
            OFFSET + one["trend"] * t * u + one["cost"] * matern(abs(t - u) / one["cost_length"])
        )
        for order, name in enumerate(("effects", "pairs", "triples"), start=1):
            expected += one[name] * mean_over_tuples(terms, order)
        expected += one["all"] * matern(abs(t - u) / one["all_cost_length"]) * product
        assert found[row, column] == pytest.approx(expected, rel=1e-9)
    assert kernel.at(theta).diagonal(points).tolist() == pytest.approx(found.diagonal().tolist())
    assert kernel.at(theta).noise == pytest.approx(one["noise"] + JITTER)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("costs", [1, 2])
def test_the_gradient_is_that_of_finite_differences(count: int, costs: int) -> None:
    kernel = Kernel(CHOICES[:count])
    rng = np.random.default_rng(count)
    codes = rng.integers(0, [1 + len(c.values) for c in CHOICES[:count]], (7, count))
    points = Points(codes, rng.normal(size=(7, costs)))
    mean = kernel.hyperparameters.prior_mean
    theta = mean + rng.normal(0, 0.3, len(mean))
    weights = rng.normal(size=(7, 7))
    weights += weights.T

    def weighted(theta: np.ndarray) -> float:
        return float((weights * kernel.at(theta)(points, points)).sum()) + float(
            weights.trace() * kernel.at(theta).noise
        )

    own = np.eye(7, dtype=bool).ravel()
    covariances, pullback = kernel.at(theta).with_pullback(kernel.pairs(points, points), own)
    noise = kernel.at(theta).noise * np.eye(7)
    assert covariances.reshape(7, 7) == pytest.approx(kernel.at(theta)(points, points) + noise)
    steps = 1e-6 * np.eye(len(theta))
    differences = [(weighted(theta + s) - weighted(theta - s)) / 2e-6 for s in steps]
    assert pullback(weights.ravel()) == pytest.approx(np.array(differences), rel=1e-6, abs=1e-7)
