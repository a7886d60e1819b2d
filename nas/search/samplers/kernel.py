r"""The covariance of two architectures' accuracies.

With z_i the similarity of choice i (a Matérn-5/2 of the distance of ranks for numbers,
exp(-1/l_i) between different words, a value of its own where the choice has no effect)
and t the standardised log costs:

    k = a_0 + a_1 t.t' + a_2 M(t, t') + a_3 \sum_i w_i z_i + a_4 \sum_{i<j} d_ij w_i w_j z_i z_j
        + a_5 \sum_{i<j<l} w_i w_j w_l z_i z_j z_l + a_6 M'(t, t') \prod_i z'_i

A trend in cost, main effects, interactions of pairs and of triples, and a product over all
choices that stands for all the rest. The three sums are divided by the numbers of their
terms. Choices that a network applies one after the other may interact more than distant
ones: d_ij = exp(-(|i - j| - 1) / l) with a length l that is learned, as spaces list their
choices in the order of the network. Effects and triples are elementary symmetric polynomials
of w_i z_i and follow from sums of powers by Newton's identities (Duvenaud et al., "Additive
Gaussian Processes", 2011). The weights, lengths and variances are the hyper-parameters
(`hyperparameters.py`), given as theta; z and M are in `similarity.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.search.samplers.hyperparameters import Hyperparameters, Values
from nas.search.samplers.similarity import Similarity, matern, matern_slope
from nas.space import Choice

Array = NDArray[np.float64]
Pullback = Callable[[Array], Array]
"""d f / d theta of any function f of covariances, from d f / d covariances, [pairs]."""

OFFSET = 0.1  # variance of the mean
JITTER = 1e-6
CHUNK = 2048  # covariances at a time, so that what they are made of stays in the cache


class Points(NamedTuple):
    """Architectures as the kernel sees them."""

    codes: NDArray[np.int64]  # [N, choices], `len(values)` where a choice has no effect
    costs: Array  # [N, costs], standardised log costs

    def part(self, rows: slice) -> Points:
        """Some of the points."""
        return Points(self.codes[rows], self.costs[rows])


class Pairs(NamedTuple):
    """Pairs of architectures as the kernel sees them."""

    entries: NDArray[np.int64]  # [choices, pairs], where a table holds a pair's values
    distance: Array  # [pairs], of their costs
    product: Array  # [pairs], t.t'

    def part(self, rows: slice | NDArray[np.int64]) -> Pairs:
        """Some of the pairs."""
        entries = np.ascontiguousarray(self.entries[:, rows])
        return Pairs(entries, self.distance[rows], self.product[rows])


class Additive(NamedTuple):
    """Sums over choices, couples and triples of them; each [pairs] unless it says otherwise."""

    others: Array  # sum_j d_ij v_j, [choices, pairs]
    first: Array  # sum of v_i
    second: Array  # sum of v_i^2
    effects: Array
    couples: Array
    triples: Array


class Terms(NamedTuple):
    """What a covariance is made of, each [pairs] unless it says otherwise."""

    trend: Array
    cost: Array
    each: Array  # v_i = w_i z_i, [choices, pairs]
    additive: Additive
    all: Array

    def covariance(self) -> Array:
        """Their sum."""
        total: Array = OFFSET + self.trend + self.cost + self.all
        return total + self.additive.effects + self.additive.couples + self.additive.triples


class Kernel:
    """The kernel above for a space."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        count = len(choices)
        self.hyperparameters = Hyperparameters(count)
        self.similarity = Similarity(choices)
        # Where the table of each choice begins.
        self._begin = np.arange(count)[:, None, None] * self.similarity.size**2
        self.between = np.abs(np.arange(count)[:, None] - np.arange(count)) - 1  # two choices
        # Numbers of ordered tuples of one, two and three choices; infinite where there is none.
        self.tuples = tuple(float(math.perm(count, order) or math.inf) for order in (1, 2, 3))

    def pairs(self, a: Points, b: Points) -> Pairs:
        """Each of A architectures with each of B: [A * B] pairs, those of A's first one first."""
        begin = self._begin + a.codes.T[:, :, None] * self.similarity.size
        # Row by row in memory: tables are read many times slower in another order.
        entries = np.add(begin, b.codes.T[:, None, :], order="C").reshape(len(begin), -1)
        distance = _distance_of_costs(a.costs, b.costs).ravel()
        return Pairs(entries, distance, (a.costs @ b.costs.T).ravel())

    def at(self, theta: Array) -> Covariance:
        """The covariance for some hyper-parameters."""
        return Covariance(self, self.hyperparameters.values(theta))


class Covariance:
    """The kernel with its hyper-parameters.

    `noise` is the variance of the noise.
    """

    def __init__(self, kernel: Kernel, values: Values) -> None:
        self._kernel, self._values = kernel, values
        self.noise = values.noise + JITTER
        n, couples, triples = kernel.tuples
        self._scales = values.effects / n, values.pairs / couples, values.triples / triples
        # d, [choices, choices]; no choice is a pair with itself.
        self._closeness = np.where(kernel.between < 0, 0.0, np.exp(-kernel.between / values.decay))
        self._ones = np.ones(len(values.weight))
        # One product of matrices gives all sums over choices of v_j itself.
        self._sums = np.vstack([self._closeness, self._ones])
        # Of each two values of each choice, [choices * values * values]: v, log z', and the
        # slopes of log z and log z' by the logarithms of their lengths.
        similar, slope = kernel.similarity(values.common_length * values.length)
        product, product_slope = kernel.similarity(values.common_all_length * values.all_length)
        self._each = (values.weight[:, None, None] * np.exp(similar)).ravel()
        self._log_product = product.ravel()
        self._slope, self._product_slope = slope.ravel(), product_slope.ravel()

    def __call__(self, a: Points, b: Points) -> Array:
        """Covariances, [A, B]."""
        found: Array = covariances([self], a, b)[0]
        return found

    def diagonal(self, a: Points) -> Array:
        """Variances, [A]."""
        values = self._values
        additive = self._additive(values.weight[:, None])  # z = 1, of any architecture
        variances: Array = OFFSET + values.trend * (a.costs * a.costs).sum(1)
        variances += additive.effects + additive.couples + additive.triples
        return variances + values.cost + values.all

    def of(self, pairs: Pairs) -> Array:
        """Covariances, [pairs]."""
        return self._terms(pairs).covariance()

    def with_pullback(self, pairs: Pairs, own: NDArray[np.bool]) -> tuple[Array, Pullback]:
        """Covariances, [pairs], and how they depend on theta.

        Args:
            pairs: of observations.
            own: [pairs], whether it is an observation with itself: with the noise.
        """
        terms = self._terms(pairs)

        def pullback(slopes: Array) -> Array:
            gradient = self._gradient(terms, pairs, slopes)
            gradient["noise"] = self._values.noise * slopes[own].sum()
            return self._kernel.hyperparameters.gradient(gradient)

        return terms.covariance() + own * self.noise, pullback

    def _gradient(self, terms: Terms, pairs: Pairs, slopes: Array) -> dict[str, Any]:
        """Gradient by the logarithm of all but the noise, from that by covariances, [pairs]."""
        values, each, additive = self._values, terms.each, terms.additive
        first, second = additive.first, additive.second
        effects, couples, triples = self._scales
        of_each = 6 * triples * (each - first)  # in place from here on: by v_i, then by its log
        of_each *= each
        of_each += effects + 3 * triples * (first * first - second)
        of_each += 2 * couples * additive.others
        of_each *= each
        of_each *= slopes
        of_lengths = np.einsum("ip,ip->i", of_each, self._slope.take(pairs.entries))
        of_all = slopes * terms.all
        of_all_lengths = self._product_slope.take(pairs.entries) @ of_all
        of_closeness = couples * (each * slopes) @ each.T
        closeness_slope = self._closeness * self._kernel.between / values.decay
        of_cost = slopes * terms.cost
        return {
            "trend": np.vdot(slopes, terms.trend),
            "cost": of_cost.sum(),
            "effects": np.vdot(slopes, additive.effects),
            "pairs": np.vdot(slopes, additive.couples),
            "triples": np.vdot(slopes, additive.triples),
            "all": of_all.sum(),
            "decay": np.vdot(of_closeness, closeness_slope),
            "cost_length": np.vdot(of_cost, matern_slope(pairs.distance / values.cost_length)),
            "all_cost_length": np.vdot(
                of_all, matern_slope(pairs.distance / values.all_cost_length)
            ),
            "common_length": of_lengths.sum(),
            "common_all_length": of_all_lengths.sum(),
            "weight": of_each.sum(1),
            "length": of_lengths,
            "all_length": of_all_lengths,
        }

    def _terms(self, pairs: Pairs) -> Terms:
        values = self._values
        each = self._each.take(pairs.entries)
        product = self._ones @ self._log_product.take(pairs.entries)
        return Terms(
            values.trend * pairs.product,
            values.cost * matern(pairs.distance / values.cost_length),
            each,
            self._additive(each),
            values.all * matern(pairs.distance / values.all_cost_length, product),
        )

    def _additive(self, each: Array) -> Additive:
        """From v_i, [choices, pairs]."""
        effects, couples, triples = self._scales
        sums = self._sums @ each
        others, first = sums[:-1], sums[-1]
        square = each * each
        second = self._ones @ square
        third, both = (np.einsum("ip,ip->p", each, factor) for factor in (square, others))
        return Additive(
            others,
            first,
            second,
            effects * first,
            couples * both,
            triples * (first * (first * first - 3 * second) + 2 * third),
        )


def covariances(of: Sequence[Covariance], a: Points, b: Points) -> Array:
    """Covariances of A architectures with B others, [of, A, B].

    What the pairs are does not depend on the hyper-parameters, so it is found once for all.
    """
    found = np.empty((len(of), len(a.codes), len(b.codes)))
    width = max(1, CHUNK // max(1, len(a.codes)))
    for start in range(0, len(b.codes), width):
        part = found[:, :, start : start + width]
        pairs = of[0]._kernel.pairs(a, b.part(slice(start, start + width)))
        for index, covariance in enumerate(of):
            part[index] = covariance.of(pairs).reshape(part.shape[1:])
    return found


def _distance_of_costs(a: Array, b: Array) -> Array:
    if a.shape[1] == 1:
        return np.abs(a - b.T)
    distances: Array = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return distances
