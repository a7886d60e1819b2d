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
from nas.search.samplers.similarity import Similarity, log_matern, matern_slope
from nas.space import Choice

Array = NDArray[np.float64]
Pullback = Callable[[Array], Array]
"""d f / d theta of any function f of the covariances, from d f / d covariances, [N, N]."""

OFFSET = 0.1  # variance of the mean
JITTER = 1e-6
CHUNK = 8192  # covariances at a time, so that what they are made of stays in the cache


class Points(NamedTuple):
    """Architectures as the kernel sees them."""

    codes: NDArray[np.int64]  # [N, choices], `len(values)` where a choice has no effect
    costs: Array  # [N, costs], standardised log costs
    onehot: Array  # [N, choices * values], of the codes

    def part(self, rows: slice) -> Points:
        """Some of the points."""
        return Points(self.codes[rows], self.costs[rows], self.onehot[rows])


class Tables(NamedTuple):
    """Of each two values of each choice, [choices, values, values]: similarities, and slopes."""

    similar: Array  # w z
    log_product: Array  # log z'
    slope: Array  # d log z / d log length
    product_slope: Array  # d log z' / d log length


class Terms(NamedTuple):
    """What a covariance is made of, each [A, B]."""

    trend: Array
    cost: Array
    sums: tuple[Array, Array]  # over choices, of w z and (w z)^2
    each: Array  # w_i z_i, [choices, A, B]
    others: Array  # sum_j d_ij w_j z_j, [choices, A, B]
    effects: Array
    pairs: Array
    triples: Array
    all: Array

    def covariance(self) -> Array:
        """Their sum."""
        total: Array = OFFSET + self.trend + self.cost + self.effects
        return total + self.pairs + self.triples + self.all


class Kernel:
    """The kernel above for a space.

    A choice's table entries for all pairs of architectures are the product of two matrices: A's
    rows of its table and B's one-hot codes. A sum of entries over choices is one such product.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        count = len(choices)
        self.hyperparameters = Hyperparameters(count)
        self._similarity = Similarity(choices)
        self._size = self._similarity.size
        self._choices = np.arange(count)
        self._between = np.abs(self._choices[:, None] - self._choices) - 1  # two choices
        # Numbers of ordered tuples of one, two and three choices; infinite where there is none.
        self._tuples = tuple(float(math.perm(count, order) or math.inf) for order in (1, 2, 3))

    def points(self, codes: NDArray[np.int64], costs: Array) -> Points:
        """Architectures with the given codes [N, choices] and costs [N, costs]."""
        onehot = (codes[:, :, None] == np.arange(self._size)).astype(np.float64)
        return Points(codes, costs, onehot.reshape(len(codes), len(self._choices) * self._size))

    def noise(self, theta: Array) -> float:
        """Variance of the noise."""
        return self.hyperparameters.values(theta).noise + JITTER

    def __call__(self, theta: Array, a: Points, b: Points) -> Array:
        """Covariances, [A, B]."""
        values = self.hyperparameters.values(theta)
        tables = self._tables(values)
        covariances = np.empty((len(a.codes), len(b.codes)))
        width = max(1, CHUNK // max(1, len(a.codes)))
        for start in range(0, len(b.codes), width):
            rows = slice(start, start + width)
            covariances[:, rows] = self._terms(values, tables, a, b.part(rows)).covariance()
        return covariances

    def diagonal(self, theta: Array, a: Points) -> Array:
        """Variances, [A]."""
        values = self.hyperparameters.values(theta)
        first, second, third = (np.atleast_1d(np.sum(values.weight**k)) for k in (1, 2, 3))
        both = values.weight @ self._closeness(values) @ values.weight
        effects, pairs, triples = self._additive(values, first, second, third, both)
        constant = OFFSET + values.cost + effects + pairs + triples + values.all
        variances: Array = constant + values.trend * (a.costs * a.costs).sum(1)
        return variances

    def with_pullback(self, theta: Array, points: Points) -> tuple[Array, Pullback]:
        """Covariances of points with each other, noise included, and how they depend on theta."""
        values = self.hyperparameters.values(theta)
        tables = self._tables(values)
        terms = self._terms(values, tables, points, points)
        covariance = terms.covariance()
        covariance.flat[:: len(covariance) + 1] += values.noise + JITTER

        def pullback(slopes: Array) -> Array:
            return self._gradient(values, tables, terms, points, slopes)

        return covariance, pullback

    def _gradient(
        self, values: Values, tables: Tables, terms: Terms, points: Points, slopes: Array
    ) -> Array:
        """Gradient by theta, [theta], from that by the covariances: `slopes`, [N, N]."""
        first, second = terms.sums
        scales = (values.effects, values.pairs, values.triples)
        effects, pairs, triples = (s / n for s, n in zip(scales, self._tuples, strict=True))
        of_all = slopes * terms.all
        of_sums = np.stack(
            [
                slopes * (effects + 3 * triples * (first * first - second)),
                slopes * (-3 * triples * first),
                slopes * (2 * triples),
                of_all,
            ]
        )
        one, two, three, product = self._over_tables(of_sums, points)
        w = tables.similar
        one = one + self._over_each(2 * pairs * slopes * terms.others, points)
        of_similar = w * (one + w * (2 * two + 3 * w * three))
        vectors = terms.each.reshape(len(w), slopes.size)
        of_closeness = pairs * (vectors * slopes.ravel()) @ vectors.T
        closeness_slope = self._closeness(values) * self._between / values.decay
        of_lengths = (of_similar * tables.slope).sum((1, 2))
        of_all_lengths = (product * tables.product_slope).sum((1, 2))
        distance = _distance_of_costs(points.costs, points.costs)
        gradient: dict[str, Any] = {
            "noise": values.noise * slopes.trace(),
            "trend": np.vdot(slopes, terms.trend),
            "cost": np.vdot(slopes, terms.cost),
            "effects": np.vdot(slopes, terms.effects),
            "pairs": np.vdot(slopes, terms.pairs),
            "triples": np.vdot(slopes, terms.triples),
            "all": of_all.sum(),
            "decay": np.vdot(of_closeness, closeness_slope),
            "cost_length": np.vdot(
                slopes * terms.cost, matern_slope(distance / values.cost_length)
            ),
            "all_cost_length": np.vdot(of_all, matern_slope(distance / values.all_cost_length)),
            "common_length": of_lengths.sum(),
            "common_all_length": of_all_lengths.sum(),
            "weight": of_similar.sum((1, 2)),
            "length": of_lengths,
            "all_length": of_all_lengths,
        }
        return self.hyperparameters.gradient(gradient)

    def _terms(self, values: Values, tables: Tables, a: Points, b: Points) -> Terms:
        distance = _distance_of_costs(a.costs, b.costs)
        product = self._rows(tables.log_product, a).reshape(a.onehot.shape) @ b.onehot.T
        rows = self._rows(tables.similar, a).transpose(1, 0, 2)
        each = rows @ self._by_choice(b).transpose(0, 2, 1)
        others = np.tensordot(self._closeness(values), each, 1)
        squares = each * each
        first, second = each.sum(0), squares.sum(0)
        third, both = (np.einsum("iab,iab->ab", each, x) for x in (squares, others))
        return Terms(
            values.trend * (a.costs @ b.costs.T),
            values.cost * np.exp(log_matern(distance / values.cost_length)),
            (first, second),
            each,
            others,
            *self._additive(values, first, second, third, both),
            values.all * np.exp(product + log_matern(distance / values.all_cost_length)),
        )

    def _rows(self, table: Array, points: Points) -> Array:
        """A table's row of each choice's value, [N, choices, values]."""
        rows: Array = table[self._choices, points.codes]
        return rows

    def _by_choice(self, points: Points) -> Array:
        """One-hot codes of each choice, [choices, N, values]."""
        return points.onehot.reshape(*points.codes.shape, self._size).transpose(1, 0, 2)

    def _additive(
        self, values: Values, first: Array, second: Array, third: Array, both: Array
    ) -> tuple[Array, Array, Array]:
        """Effects, pairs and triples.

        Args:
            values: the hyper-parameters.
            first: sum of w_i z_i.
            second: sum of its squares.
            third: sum of its cubes.
            both: sum of d_ij w_i w_j z_i z_j over ordered pairs.
        """
        n, pairs, triples = self._tuples
        return (
            values.effects / n * first,
            values.pairs / pairs * both,
            values.triples / triples * (first * (first * first - 3 * second) + 2 * third),
        )

    def _closeness(self, values: Values) -> Array:
        """d, [choices, choices]; no choice is a pair with itself."""
        return np.where(self._between < 0, 0.0, np.exp(-self._between / values.decay))

    def _tables(self, values: Values) -> Tables:
        similarity, slope = self._similarity(values.common_length * values.length)
        product, product_slope = self._similarity(values.common_all_length * values.all_length)
        similar = values.weight[:, None, None] * np.exp(similarity)
        return Tables(similar, product, slope, product_slope)

    def _over_tables(self, of_sums: Array, points: Points) -> Array:
        """Gradient by tables, [4, choices, values, values], from that by sums, [4, N, N]."""
        count, n, _ = of_sums.shape
        right = (of_sums.reshape(count * n, n) @ points.onehot).reshape(count, n, -1, self._size)
        left = points.onehot.reshape(n, -1, self._size).transpose(1, 2, 0)
        over: Array = left @ right.transpose(0, 2, 1, 3)
        return over

    def _over_each(self, of_each: Array, points: Points) -> Array:
        """Gradient by tables, [choices, values, values], from that by w z, [choices, N, N]."""
        onehot = self._by_choice(points)
        over: Array = onehot.transpose(0, 2, 1) @ (of_each @ onehot)
        return over


def _distance_of_costs(a: Array, b: Array) -> Array:
    if a.shape[1] == 1:
        return np.abs(a - b.T)
    distances: Array = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return distances
