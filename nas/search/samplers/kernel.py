r"""The covariance of two architectures' accuracies, and its hyper-parameters.

With z_i the similarity of choice i (a Matérn-5/2 of the distance of ranks for numbers,
exp(-1/l_i) between different words, a value of its own where the choice has no effect)
and t the standardised log costs:

    k = a_0 + a_1 t.t' + a_2 M(t, t') + a_3 \sum_i w_i z_i + a_4 \sum_{i<j} w_i w_j z_i z_j
        + a_5 \sum_{i<j<l} w_i w_j w_l z_i z_j z_l + a_6 M'(t, t') \prod_i z'_i

A trend in cost, main effects, interactions of pairs and of triples, and a product over all
choices that stands for all the rest. The three sums, each of which is divided by the number
of its terms, are elementary symmetric polynomials of w_i z_i and follow from sums of powers
by Newton's identities (Duvenaud et al., "Additive Gaussian Processes", 2011). Every
hyper-parameter has a log-normal prior. A choice's length is the product of one that all
share and of its own deviation: few trials tell little of each choice, but much of how
smooth the space is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nas.space import Choice

# name: (median, standard deviation of the logarithm)
PRIORS = {
    "noise": (0.01, 1.5),  # variances, in units of the targets' variance
    "trend": (0.5, 1.0),
    "cost": (0.3, 1.0),
    "effects": (0.5, 1.0),
    "pairs": (0.3, 1.0),
    "triples": (0.1, 1.0),
    "all": (0.2, 1.0),
    "cost_length": (1.0, 0.7),  # lengths, in standard deviations of log cost
    "all_cost_length": (1.5, 0.7),
    "common_length": (0.8, 1.0),  # of all choices, in the main effects and pairs
    "common_all_length": (1.5, 1.0),  # of all choices, in the product
    "weight": (1.0, 0.7),  # of each choice
    "length": (1.0, 0.7),  # of each choice, in units of the common one
    "all_length": (1.0, 0.7),
}
PER_CHOICE = ("weight", "length", "all_length")
RANK_RANGE = 2.0  # distance between the least and the largest number of a choice
OFFSET = 0.1  # variance of the mean
JITTER = 1e-6


class Points(NamedTuple):
    """Architectures as the kernel sees them."""

    codes: Tensor  # [N, choices] int64, `len(values)` where a choice has no effect
    costs: Tensor  # [N, costs], standardised log costs
    onehot: Tensor  # [N, choices * values], of the codes

    def part(self, rows: slice) -> Points:
        """Some of the points."""
        return Points(self.codes[rows], self.costs[rows], self.onehot[rows])


class Kernel:
    """The kernel above for a space.

    A sum over choices of one table entry each is a product of one-hot matrices with a
    block-diagonal table, so all choices cost three matrix products together.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._values = 1 + max(len(choice.values) for choice in choices)
        self._distance = torch.stack([_distances(choice, self._values) for choice in choices])
        self._ordinal = torch.tensor([choice.ordinal for choice in choices])[:, None, None]
        count = len(choices)
        self._slices: dict[str, slice] = {}
        medians: list[float] = []
        spreads: list[float] = []
        for name, (median, spread) in PRIORS.items():
            n = count if name in PER_CHOICE else 1
            self._slices[name] = slice(len(medians), len(medians) + n)
            medians += [math.log(median)] * n
            spreads += [spread] * n
        self.prior_mean = torch.tensor(medians, dtype=torch.float64)
        self.prior_deviation = torch.tensor(spreads, dtype=torch.float64)
        self._choices = count

    def points(self, codes: Tensor, costs: Tensor) -> Points:
        """Architectures with the given codes [N, choices] and costs [N, costs]."""
        onehot = torch.nn.functional.one_hot(codes, self._values).to(torch.float64)
        return Points(codes, costs, onehot.reshape(len(codes), self._choices * self._values))

    def noise(self, theta: Tensor) -> Tensor:
        """Variance of the noise, under hyper-parameters theta (their logarithms)."""
        return theta[self._slices["noise"]][0].exp() + JITTER

    def __call__(self, theta: Tensor, a: Points, b: Points) -> Tensor:
        """Covariances, [A, B]."""
        values = self._values_of(theta)
        distance = _distance_of_costs(a.costs, b.costs)
        total = OFFSET + values["trend"] * (a.costs @ b.costs.T)
        total = total + values["cost"] * _log_matern(distance / values["cost_length"]).exp()
        similar = self._log_similarity(values["common_length"] * values["length"]).exp()
        similar = similar * values["weight"][:, None, None]
        first = self._sum(a, similar, b)
        lengths = values["common_all_length"] * values["all_length"]
        rest = self._sum(a, self._log_similarity(lengths), b)
        rest = (rest + _log_matern(distance / values["all_cost_length"])).exp()
        second = self._sum(a, similar**2, b)
        third = self._sum(a, similar**3, b)
        return total + self._additive(values, first, second, third) + values["all"] * rest

    def diagonal(self, theta: Tensor, a: Points) -> Tensor:
        """Variances, [A]."""
        values = self._values_of(theta)
        first, second, third = (values["weight"].pow(power).sum() for power in (1, 2, 3))
        constant = OFFSET + values["cost"] + values["all"]
        constant = constant + self._additive(values, first, second, third)
        return constant + values["trend"] * (a.costs * a.costs).sum(1)

    def _additive(
        self, values: dict[str, Tensor], first: Tensor, second: Tensor, third: Tensor
    ) -> Tensor:
        """Effects, pairs and triples, from sums of w_i z_i, of its squares and of its cubes."""
        n = self._choices
        total = values["effects"] / n * first
        if n > 1:
            total = total + values["pairs"] / (n * (n - 1)) * (first**2 - second)
        if n > 2:
            triples = first**3 - 3 * first * second + 2 * third
            total = total + values["triples"] / (n * (n - 1) * (n - 2)) * triples
        return total

    def _values_of(self, theta: Tensor) -> dict[str, Tensor]:
        return {name: theta[part].exp() for name, part in self._slices.items()}

    def _log_similarity(self, lengths: Tensor) -> Tensor:
        """[choices, values, values]: log similarity of each two values of each choice."""
        scaled = self._distance / lengths[:, None, None]
        return torch.where(self._ordinal, _log_matern(scaled), -scaled)

    def _sum(self, a: Points, tables: Tensor, b: Points) -> Tensor:
        """[A, B], the sum over choices of the tables' entries for the two codes."""
        blocks = a.onehot.reshape(len(a.codes), self._choices, self._values)
        left = torch.einsum("ndk,dkl->ndl", blocks, tables).reshape(a.onehot.shape)
        return left @ b.onehot.T


def _distances(choice: Choice, size: int) -> Tensor:
    """[size, size], distances of a choice's values; "without effect" is as far as the farthest."""
    n = len(choice.values)
    if choice.ordinal:
        ranks = torch.tensor(_ranks(choice), dtype=torch.float64) * RANK_RANGE / max(1, n - 1)
        inner = (ranks[:, None] - ranks[None, :]).abs()
        far = RANK_RANGE
    else:
        inner, far = 1.0 - torch.eye(n, dtype=torch.float64), 1.0
    table = far * (1.0 - torch.eye(size, dtype=torch.float64))
    table[:n, :n] = inner
    return table


def _ranks(choice: Choice) -> list[int]:
    ordered = sorted(choice.values, key=float)
    return [ordered.index(value) for value in choice.values]


def _distance_of_costs(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[1] == 1:
        return (a - b.T).abs()
    # Not cdist: its gradient at distance 0 is not a number.
    return torch.sqrt(((a[:, None] - b[None]) ** 2).sum(-1) + 1e-12)


def _log_matern(distance: Tensor) -> Tensor:
    """Logarithm of the Matérn-5/2 correlation."""
    q = math.sqrt(5.0) * distance
    return torch.log1p(q + q * q / 3) - q
