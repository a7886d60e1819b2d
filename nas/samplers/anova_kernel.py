r"""The covariance of two architectures' accuracies.

With z_i the similarity of two values of choice i (a Matérn-5/2 of the distance of ranks for
numbers, exp(-1/l_i) between different words, "without effect" being a value of its own) and
t the standardised log costs:

    k = a_0 + a_1 t.t' + a_2 M(t, t') + a_3 \sum_i v_i + a_4 \sum_{i<j} b_ij d_ij v_i v_j
        + a_5 \sum_{i<j<l} d_ij d_jl v_i v_j v_l + a_6 M'(t, t') \prod_i z'_i,    v_i = w_i c_i

    c(x, y) = z(x, y) - z(x, .) - z(., y) + z(., .), over the mean of c(x, x)

A trend in cost, main effects, interactions of pairs and of triples, and a product over all
choices that stands for all the rest. The three sums are divided by the numbers of their
terms. A dot is a mean over the choice's values: where choices are independent an interaction
then says nothing of main effects, as in an analysis of variance (in the spirit of Durrande et
al., "ANOVA kernels and RKHS of zero mean functions", 2013). Choices that a network applies
one after the other may interact more than distant ones: d_ij = exp(-(|i - j| - 1) / l) with
a length l that is learned, as spaces list their choices in the order of the network; b_ij
lets a pair differ from that. The weights, lengths and variances are the hyper-parameters
(`hyperparameters.py`), given as theta; z, c and M are in `similarity.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.samplers.base_kernels import Similarity, matern, matern_slope
from nas.samplers.hyperparameters import Hyperparameters, Values
from nas.space.space import Choice

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

    def room(self) -> Array:
        """Memory for v_i and sums of them, to be used again: the system is slow to give new one."""
        return np.empty((4 * len(self.entries), len(self.distance)))


class Additive(NamedTuple):
    """Sums over choices, couples and triples of them; each [pairs] unless it says otherwise."""

    partners: Array  # sum_j b_ij d_ij v_j, [choices, pairs]
    before: Array  # sum_{j<i} d_ij v_j, [choices, pairs]
    after: Array  # sum_{j>i} d_ij v_j, [choices, pairs]
    effects: Array
    couples: Array
    triples: Array


class Terms(NamedTuple):
    """What a covariance is made of, each [pairs] unless it says otherwise."""

    trend: Array
    cost: Array
    each: Array  # v_i = w_i c_i, [choices, pairs]
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
        self.couples = np.triu_indices(count, 1)  # as `couple` lists them
        self.below = np.tri(count, k=-1)  # 1 where the second of two choices is before the first
        self.between = np.abs(np.arange(count)[:, None] - np.arange(count)) - 1  # two choices
        # Numbers of groups of one, two and three choices; infinite where there is none.
        self.groups = tuple(float(math.comb(count, order) or math.inf) for order in (1, 2, 3))

    def pairs(self, a: Points, b: Points) -> Pairs:
        """Each of A architectures with each of B: [A * B] pairs, those of A's first one first."""
        begin = self._begin + a.codes.T[:, :, None] * self.similarity.size
        # Row by row in memory: tables are read many times slower in another order.
        entries = np.add(begin, b.codes.T[:, None, :], order="C").reshape(len(begin), -1)
        distance = _distance_of_costs(a.costs, b.costs).ravel()
        return Pairs(entries, distance, (a.costs @ b.costs.T).ravel())

    def with_itself(self, a: Points) -> NDArray[np.int64]:
        """`entries` of each of A architectures with itself, [choices, A]."""
        entries: NDArray[np.int64] = np.add(
            self._begin[:, 0], a.codes.T * (self.similarity.size + 1), order="C"
        )
        return entries

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
        effects, pairs, triples = values.effects, values.pairs, values.triples
        n, couples, threes = kernel.groups
        # Each couple stands twice in a symmetric matrix.
        self._scales = effects / n, pairs / (2 * couples), triples / threes
        # d, then b d, and d to choices before and after; no choice is a pair with itself.
        closeness = np.where(kernel.between < 0, 0.0, np.exp(-kernel.between / values.decay))
        self._coupling = np.zeros_like(closeness)
        self._coupling[kernel.couples] = values.couple * closeness[kernel.couples]
        self._coupling += self._coupling.T
        self._lower, self._upper = closeness * kernel.below, closeness * kernel.below.T
        # One product of matrices gives the three sums over other choices.
        self._sums = np.vstack([self._coupling, self._lower, self._upper])
        # Of each two values of each choice, [choices * values * values]: v and its slope by the
        # logarithm of its length, log z', likewise.
        weight = values.weight[:, None, None]
        centred, slope = kernel.similarity.centred(values.common_length * values.length)
        product, product_slope = kernel.similarity(values.common_all_length * values.all_length)
        self._each, self._slope = (weight * centred).ravel(), (weight * slope).ravel()
        self._log_product, self._product_slope = product.ravel(), product_slope.ravel()

    def __call__(self, a: Points, b: Points) -> Array:
        """Covariances, [A, B]."""
        found: Array = covariances([self], a, b)[0]
        return found

    def diagonal(self, a: Points) -> Array:
        """Variances, [A]."""
        values = self._values
        each = self._each.take(self._kernel.with_itself(a))
        additive = self._additive(each, np.empty((3 * len(each), each.shape[1])))
        variances: Array = OFFSET + values.trend * (a.costs * a.costs).sum(1)
        variances += additive.effects + additive.couples + additive.triples
        return variances + values.cost + values.all

    def of(self, pairs: Pairs, room: Array) -> Array:
        """Covariances, [pairs].

        Args:
            pairs: of architectures.
            room: from `pairs.room()`.
        """
        return self._terms(pairs, room).covariance()

    def with_pullback(
        self, pairs: Pairs, own: NDArray[np.bool], room: Array
    ) -> tuple[Array, Pullback]:
        """Covariances, [pairs], and how they depend on theta.

        Args:
            pairs: of observations.
            own: [pairs], whether it is an observation with itself: with the noise.
            room: from `pairs.room()`; the pullback holds until it is used again.
        """
        terms = self._terms(pairs, room)

        def pullback(slopes: Array) -> Array:
            gradient = self._gradient(terms, pairs, slopes)
            gradient["noise"] = self._values.noise * slopes[own].sum()
            return self._kernel.hyperparameters.gradient(gradient)

        return terms.covariance() + own * self.noise, pullback

    def _gradient(self, terms: Terms, pairs: Pairs, slopes: Array) -> dict[str, Any]:
        """Gradient by the logarithm of all but the noise, from that by covariances, [pairs]."""
        values, each, additive = self._values, terms.each, terms.additive
        before, after = additive.before, additive.after
        effects, couples, triples = self._scales
        up, down = each * after, each * before
        of_each = before * after  # in place from here on: by v_i
        of_each += self._upper @ up
        of_each += self._lower @ down
        of_each *= triples
        of_each += 2 * couples * additive.partners
        of_each += effects
        of_each *= slopes
        of_all = slopes * terms.all
        of_all_lengths = self._product_slope.take(pairs.entries) @ of_all
        sloped = each * slopes
        of_coupling = couples * self._coupling * (sloped @ each.T)  # by its logarithm
        of_lower = self._lower * ((up * slopes) @ each.T + sloped @ down.T)
        decaying = self._kernel.between / values.decay
        of_cost = slopes * terms.cost
        of_lengths = np.einsum("ip,ip->i", of_each, self._slope.take(pairs.entries))
        return {
            "trend": np.vdot(slopes, terms.trend),
            "cost": of_cost.sum(),
            "effects": np.vdot(slopes, additive.effects),
            "pairs": np.vdot(slopes, additive.couples),
            "triples": np.vdot(slopes, additive.triples),
            "all": of_all.sum(),
            "decay": np.vdot(of_coupling + triples * of_lower, decaying),
            "cost_length": np.vdot(of_cost, matern_slope(pairs.distance / values.cost_length)),
            "all_cost_length": np.vdot(
                of_all, matern_slope(pairs.distance / values.all_cost_length)
            ),
            "common_length": of_lengths.sum(),
            "common_all_length": of_all_lengths.sum(),
            "weight": np.einsum("ip,ip->i", of_each, each),
            "length": of_lengths,
            "all_length": of_all_lengths,
            "couple": 2 * of_coupling[self._kernel.couples],
        }

    def _terms(self, pairs: Pairs, room: Array) -> Terms:
        values = self._values
        each, sums = room[: len(pairs.entries)], room[len(pairs.entries) :]
        # With "clip" it is written where it is to be, with "raise" copied there.
        self._each.take(pairs.entries, out=each, mode="clip")
        product = self._log_product.take(pairs.entries).sum(0)
        return Terms(
            values.trend * pairs.product,
            values.cost * matern(pairs.distance / values.cost_length),
            each,
            self._additive(each, sums),
            values.all * matern(pairs.distance / values.all_cost_length, product),
        )

    def _additive(self, each: Array, sums: Array) -> Additive:
        """From v_i, [choices, pairs], with room for the sums, [3 * choices, pairs]."""
        effects, couples, triples = self._scales
        np.matmul(self._sums, each, out=sums)
        count = len(each)
        partners, before, after = sums[:count], sums[count : 2 * count], sums[2 * count :]
        return Additive(
            partners,
            before,
            after,
            effects * each.sum(0),
            couples * np.einsum("ip,ip->p", each, partners),
            triples * np.einsum("ip,ip,ip->p", each, before, after),
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
        room = pairs.room()
        for index, covariance in enumerate(of):
            part[index] = covariance.of(pairs, room).reshape(part.shape[1:])
    return found


def _distance_of_costs(a: Array, b: Array) -> Array:
    if a.shape[1] == 1:
        return np.abs(a - b.T)
    distances: Array = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return distances
