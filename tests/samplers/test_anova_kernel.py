"""The covariance against its formula, written as loops over choices."""

from __future__ import annotations

import itertools
import math
from statistics import fmean

import numpy as np
import pytest

from nas.samplers.anova_kernel import JITTER, OFFSET, AnovaKernel
from nas.samplers.base_kernels import ChoiceKernels
from nas.samplers.points import Points
from nas.space.space import Choice

CHOICES = (
    Choice("width", (1, 2, 3)),
    Choice("kind", ("dct", "pointwise")),
    Choice("hidden", (4, 8, 16), ("kind", "dct")),
    Choice("depth", (1, 2, 3, 4)),
    Choice("fixed", (5,)),
)


def matern(distance: float) -> float:
    q = math.sqrt(5) * distance
    return (1 + q + q * q / 3) * math.exp(-q)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_formula(count: int) -> None:
    choices = CHOICES[:count]
    kernel = AnovaKernel(choices)
    rng = np.random.default_rng(count)
    codes = rng.integers(0, [len(c.values) for c in choices], (6, count))
    if count > 2:
        codes[:3, 2] = len(CHOICES[2].values)  # without effect
    costs = rng.normal(size=(6, 1))
    points = Points(codes, costs)
    mean = kernel.hyperparameters.prior_mean
    theta = mean + rng.normal(0, 0.3, len(mean))
    matrix = kernel.at(theta)(points, points)
    slices = kernel.hyperparameters.slices
    named = {name: np.exp(theta[part]).tolist() for name, part in slices.items()}
    one = {name: values[0] for name, values in named.items() if values}

    def similarity(index: int, x: int, y: int, length: float) -> float:
        size = len(choices[index].values)
        if not choices[index].ordinal:
            return math.exp(-float(x != y) / length)
        if x == y:
            return 1.0
        rank_x, rank_y = (2.0 * value / (size - 1) for value in (x, y))
        if size in (x, y):  # beside the line of the numbers, 2 away from both ends
            return matern(math.hypot(min(rank_x, rank_y) - 1.0, math.sqrt(3)) / length)
        return matern(abs(rank_x - rank_y) / length)

    def centred(index: int, x: int, y: int, length: float) -> float:
        choice = choices[index]
        values = range(len(choice.values) + (choice.needs is not None))

        def without_means(x: int, y: int) -> float:
            shared = fmean(similarity(index, x, z, length) for z in values)
            shared += fmean(similarity(index, z, y, length) for z in values)
            every = itertools.product(values, repeat=2)
            return (
                similarity(index, x, y, length)
                - shared
                + fmean(similarity(index, *pair, length) for pair in every)
            )

        variance = fmean(without_means(z, z) for z in values)
        return without_means(x, y) / variance if variance else 0.0

    pair_weights = dict(
        zip(itertools.combinations(range(count), 2), named["pair_weight"], strict=True)
    )

    def share(group: tuple[int, ...]) -> float:
        gaps = (b - a - 1 for a, b in itertools.pairwise(group))
        own = pair_weights[group] if len(group) == 2 else 1.0
        return own * math.exp(-sum(gaps) / one["interaction_length"])

    def mean_over_groups(terms: list[float], order: int) -> float:
        groups = list(itertools.combinations(range(count), order))
        total = sum(share(group) * math.prod(terms[i] for i in group) for group in groups)
        return total / len(groups) if groups else 0.0

    for row, column in itertools.product(range(6), repeat=2):
        a, b = codes[row].tolist(), codes[column].tolist()
        t, u = costs[row, 0], costs[column, 0]
        terms = [
            named["weight"][i] * centred(i, a[i], b[i], one["shared_length"] * named["length"][i])
            for i in range(count)
        ]
        product = math.prod(
            similarity(i, a[i], b[i], one["shared_product_length"] * named["product_length"][i])
            for i in range(count)
        )
        expected = (
            OFFSET + one["trend"] * t * u + one["cost"] * matern(abs(t - u) / one["cost_length"])
        )
        for order, name in enumerate(("main_effects", "pair_effects", "triple_effects"), start=1):
            expected += one[name] * mean_over_groups(terms, order)
        expected += one["product"] * matern(abs(t - u) / one["product_cost_length"]) * product
        assert matrix[row, column] == pytest.approx(expected, rel=1e-9)
    assert kernel.at(theta).diagonal(points).tolist() == pytest.approx(matrix.diagonal().tolist())
    assert kernel.at(theta).noise == pytest.approx(one["noise"] + JITTER)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("costs", [1, 2])
def test_the_gradient_is_that_of_finite_differences(count: int, costs: int) -> None:
    kernel = AnovaKernel(CHOICES[:count])
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
    pairs = kernel.pairs(points, points)
    entries, pullback = kernel.at(theta).with_pullback(pairs, own, pairs.workspace())
    noise = kernel.at(theta).noise * np.eye(7)
    assert entries.reshape(7, 7) == pytest.approx(kernel.at(theta)(points, points) + noise)
    steps = 1e-6 * np.eye(len(theta))
    differences = [(weighted(theta + s) - weighted(theta - s)) / 2e-6 for s in steps]
    assert pullback(weights.ravel()) == pytest.approx(np.array(differences), rel=1e-6, abs=1e-7)


CONDITIONAL = [Choice("r", tuple(range(1, n + 1)), ("kind", "dct")) for n in range(1, 8)]


@pytest.mark.parametrize("length", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("choice", [*CHOICES, *CONDITIONAL], ids=str)
def test_choice_kernels_are_positive_semidefinite_and_centred(
    choice: Choice, length: float
) -> None:
    kernels = ChoiceKernels([choice])
    occurring = len(choice.values) + (choice.needs is not None)
    logs, _ = kernels(np.array([length]))
    centred, slope = (table[0] for table in kernels.centred(np.array([length])))
    for table in (np.exp(logs[0]), centred):
        assert np.linalg.eigvalsh(table[:occurring, :occurring]).min() > -1e-9
    means = centred[:occurring, :occurring].mean(axis=0)
    assert means == pytest.approx(np.zeros(occurring), abs=1e-9)
    variance = centred.diagonal()[:occurring].mean()
    assert variance == pytest.approx(1.0 if occurring > 1 else 0.0)
    if not choice.ordinal:
        assert slope == pytest.approx(np.zeros_like(slope), abs=1e-9)
