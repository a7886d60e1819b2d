"""The covariance against its formula, written as loops over choices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from nas.search.samplers.kernel import JITTER, OFFSET, Kernel
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
    codes = torch.from_numpy(rng.integers(0, [len(c.values) for c in choices], (6, count)))
    if count > 2:
        codes[:3, 2] = len(CHOICES[2].values)  # without effect
    costs = torch.from_numpy(rng.normal(size=(6, 1)))
    points = kernel.points(codes, costs)
    theta = kernel.prior_mean + torch.from_numpy(rng.normal(0, 0.3, len(kernel.prior_mean)))
    found = kernel(theta, points, points)
    named = {name: theta[part].exp().tolist() for name, part in kernel._slices.items()}
    one = {name: values[0] for name, values in named.items()}

    def similarity(index: int, x: int, y: int, length: float) -> float:
        size = len(choices[index].values)
        if not choices[index].ordinal:
            return math.exp(-float(x != y) / length)
        far = size in (x, y)
        distance = 2.0 * (x != y) if far else abs(x - y) * 2.0 / (size - 1)
        return matern(distance / length)

    def mean_over_tuples(terms: list[float], order: int) -> float:
        tuples = list(itertools.permutations(terms, order))
        return sum(math.prod(each) for each in tuples) / len(tuples) if tuples else 0.0

    for row, column in itertools.product(range(6), repeat=2):
        a, b = codes[row].tolist(), codes[column].tolist()
        t, u = float(costs[row]), float(costs[column])
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
        assert found[row, column].item() == pytest.approx(expected, rel=1e-9)
    assert kernel.diagonal(theta, points).tolist() == pytest.approx(found.diagonal().tolist())
    assert kernel.noise(theta).item() == pytest.approx(one["noise"] + JITTER)
