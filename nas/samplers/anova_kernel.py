r"""The ANOVA kernel: the covariance of the targets of two architectures.

With t the standardised log costs and v_i the weighted kernel of choice i,

    k = a_0 + a_1 t.t' + a_2 M(|t - t'| / l_2)                          constant, trend, cost
        + a_3 / N_1 \sum_i v_i                                          main effects
        + a_4 / N_2 \sum_{i<j} b_ij d_ij v_i v_j                        pairwise interactions
        + a_5 / N_3 \sum_{i<j<m} d_ij d_jm v_i v_j v_m                  three-way interactions
        + a_6 M(|t - t'| / l_6) \prod_i z_i                             full product         (1)

    v_i = w_i c_i,    d_ij = exp(-(|i - j| - 1) / l)                                         (2)

with the Matérn-5/2 correlation M, the kernel z_i of choice i and the centred kernel c_i, which has
its own length scale (`base_kernels.py`). N_1, N_2, N_3 are the numbers of terms of the sums.

Because c_i has mean 0 over the values of choice i, an interaction of independent choices contains
no main effect, as in an analysis of variance (in the spirit of Durrande, Ginsbourger, Roustant and
Carraro, "ANOVA kernels and RKHS of zero mean functions for model-based sensitivity analysis",
Journal of Multivariate Analysis 115, 2013, arXiv 1106.3571). The full product stands for
everything else. Spaces list their choices in the order of the network, and choices that a network
applies one after the other may interact more strongly than distant ones: d_ij falls with their
distance in the list, with a learned length l, and b_ij lets a pair differ from that. All of a, b, w
and the length scales but a_0 are hyperparameters (`hyperparameters.py`), given as theta.

A study with sources has the covariance

    d^{(u + u') / 2} k + \sum_s b_s (1 + m_s m_s' + K_s)                                     (3)

with a hyperparameter b_s, the posterior mean m_s and the posterior covariance K_s of source s
(`source_model.py`): the part that is shared with the source is a linear function of its errors.

The kernel (1) and its noise may have a variance that changes with cost, by the factor d for each
unit of u, the mean of t. A source, and a study with sources, evaluate good architectures almost
alone; where cheap ones are all alike, such a study would go on evaluating them for the differences
that expensive ones have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.samplers.base_kernels import ChoiceKernels, matern, matern_slope
from nas.samplers.hyperparameters import Hyperparameters, KernelValues
from nas.samplers.points import Pairs, Points
from nas.space.space import Choice

Array = NDArray[np.float64]
Pullback = Callable[[Array], Array]
"""Gradient of a function by theta, from its gradient by the covariances, [pairs]."""

OFFSET = 0.1  # a_0, variance of the constant mean
JITTER = 1e-6  # added to the noise variance, so that the covariance is not singular
CHUNK = 2048  # pairs evaluated at a time, so that intermediate results stay in the cache


class AdditiveTerms(NamedTuple):
    """Main effects and interactions; [pairs] each unless stated otherwise."""

    partners: Array  # sum_j b_ij d_ij v_j, [choices, pairs]
    before: Array  # sum_{j<i} d_ij v_j, [choices, pairs]
    after: Array  # sum_{j>i} d_ij v_j, [choices, pairs]
    main_effects: Array
    pair_effects: Array
    triple_effects: Array


class Terms(NamedTuple):
    """The terms of (1) without the constant; [pairs] each unless stated otherwise."""

    trend: Array
    cost: Array
    each: Array  # v_i, [choices, pairs]
    additive: AdditiveTerms
    product: Array

    def covariance(self) -> Array:
        """Equation (1), [pairs]."""
        total: Array = OFFSET + self.trend + self.cost + self.product
        additive = self.additive
        return total + additive.main_effects + additive.pair_effects + additive.triple_effects


class AnovaKernel:
    """The kernel (1) of a space, or (3) with a number of sources, for any hyperparameters.

    Args:
        choices: of the space.
        sources: number of sources.
        tilted: variances change with cost, see (3).
    """

    def __init__(
        self, choices: Sequence[Choice], sources: int = 0, *, tilted: bool = False
    ) -> None:
        count = len(choices)
        self.hyperparameters = Hyperparameters(count, sources, tilted=tilted)
        self.tilted = tilted
        self.choice_kernels = ChoiceKernels(choices)
        # First position of the table of each choice among the flattened tables.
        self._begin = np.arange(count)[:, None, None] * self.choice_kernels.size**2
        self.choice_pairs = np.triu_indices(count, 1)  # in the order of `pair_weight`
        self.below = np.tri(count, k=-1)  # 1 where the second of two choices is before the first
        self.between = np.abs(np.arange(count)[:, None] - np.arange(count)) - 1  # |i - j| - 1
        # N_1, N_2, N_3; infinite where there is no term.
        self.group_counts = tuple(float(math.comb(count, order) or math.inf) for order in (1, 2, 3))

    def pairs(self, a: Points, b: Points) -> Pairs:
        """The [A * B] pairs of A architectures with B others, in row-major order."""
        begin = self._begin + a.codes.T[:, :, None] * self.choice_kernels.size
        # In C order: `take` is many times slower on another one.
        entries = np.add(begin, b.codes.T[:, None, :], order="C").reshape(len(begin), -1)
        distance = _distance_of_costs(a.costs, b.costs).ravel()
        product, shared, level = (a.costs @ b.costs.T).ravel(), None, None
        if a.predicted is not None and b.predicted is not None:
            shared = _shared(a, b).reshape(a.predicted.shape[1], -1)
        if self.tilted:
            level = np.add.outer(a.costs.mean(axis=1), b.costs.mean(axis=1)).ravel() / 2
        return Pairs(entries, distance, product, shared, level)

    def with_itself(self, a: Points) -> NDArray[np.int64]:
        """`entries` of the pairs of A architectures with themselves, [choices, A]."""
        entries: NDArray[np.int64] = np.add(
            self._begin[:, 0], a.codes.T * (self.choice_kernels.size + 1), order="C"
        )
        return entries

    def at(self, theta: Array) -> Covariance:
        """The covariance function with the hyperparameters theta."""
        return Covariance(self, self.hyperparameters.values(theta))


class Covariance:
    """The kernel (1) with given hyperparameters; `noise` is the variance of the noise."""

    def __init__(self, kernel: AnovaKernel, values: KernelValues) -> None:
        self._kernel, self._values = kernel, values
        self.noise = values.noise + JITTER  # of a point of mean cost, see `noise_at`
        singles, pairs, triples = kernel.group_counts
        self._scales = (
            values.main_effects / singles,
            values.pair_effects / (2 * pairs),  # the symmetric matrix b d has every pair twice
            values.triple_effects / triples,
        )
        # d of (2), then b d, and d to choices before and after; 0 for a choice with itself.
        closeness = np.exp(-kernel.between / values.interaction_length)
        closeness = np.where(kernel.between < 0, 0.0, closeness)
        self._coupling = np.zeros_like(closeness)
        of_pairs = kernel.choice_pairs
        self._coupling[of_pairs] = values.pair_weight * closeness[of_pairs]
        self._coupling += self._coupling.T
        self._lower, self._upper = closeness * kernel.below, closeness * kernel.below.T
        # One matrix product gives the three sums over the other choices.
        self._sums = np.vstack([self._coupling, self._lower, self._upper])
        # Flattened tables, [choices * size * size]: v and log z with their slopes by log length.
        weight = values.weight[:, None, None]
        centred, slope = kernel.choice_kernels.centred(values.shared_length * values.length)
        product, product_slope = kernel.choice_kernels(
            values.shared_product_length * values.product_length
        )
        self._each, self._slope = (weight * centred).ravel(), (weight * slope).ravel()
        self._log_product, self._product_slope = product.ravel(), product_slope.ravel()

    def __call__(self, a: Points, b: Points) -> Array:
        """Covariances, [A, B]."""
        matrix: Array = covariances([self], a, b)[0]
        return matrix

    def noise_at(self, a: Points) -> Array:
        """Variances of the noise, [A]."""
        return self.noise * self._scale(a)

    def _scale(self, a: Points) -> Array:
        """The factor on variances in (3), [A]."""
        if not self._kernel.tilted:
            return np.ones(len(a.codes))
        scale: Array = self._values.tilt ** a.costs.mean(axis=1)
        return scale

    def diagonal(self, a: Points) -> Array:
        """Variances, [A]."""
        values = self._values
        each = self._each.take(self._kernel.with_itself(a))
        additive = self._additive(each, np.empty((3 * len(each), each.shape[1])))
        variances: Array = OFFSET + values.trend * (a.costs * a.costs).sum(1)
        variances += additive.main_effects + additive.pair_effects + additive.triple_effects
        variances = variances + values.cost + values.product
        if self._kernel.tilted:
            variances *= self._scale(a)
        if values.shared is not None and a.predicted is not None:
            variances += (1.0 + np.square(a.predicted)) @ values.shared
            for factor, one in zip(values.shared, a.uncertain, strict=False):
                variances += 0.0 if one is None else factor * one.variances()
        return variances

    def shared_parts(self, a: Points, b: Points) -> Array:
        """The part of each source in (3), [sources, A, B]."""
        if self._values.shared is None or a.predicted is None or b.predicted is None:
            return np.zeros((0, len(a.codes), len(b.codes)))
        parts: Array = self._values.shared[:, None, None] * _shared(a, b)
        return parts

    def of_pairs(self, pairs: Pairs, workspace: Array) -> Array:
        """Covariances, [pairs].

        Args:
            pairs: of architectures.
            workspace: from `pairs.workspace()`.
        """
        return self._with_sources(self._terms(pairs, workspace).covariance(), pairs)

    def _with_sources(self, own: Array, pairs: Pairs) -> Array:
        """Equation (3), [pairs]."""
        shared = self._values.shared
        own = own if pairs.level is None else own * self._values.tilt**pairs.level
        return own if shared is None or pairs.shared is None else own + shared @ pairs.shared

    def with_pullback(
        self, pairs: Pairs, diagonal: NDArray[np.bool], workspace: Array
    ) -> tuple[Array, Pullback]:
        """Covariances with noise, [pairs], and their pullback.

        Args:
            pairs: of observations.
            diagonal: [pairs], True for an observation with itself, which has the noise.
            workspace: from `pairs.workspace()`; the pullback is valid until it is reused.
        """
        terms = self._terms(pairs, workspace)
        own = terms.covariance() + diagonal * self.noise

        def pullback(slopes: Array) -> Array:
            more: dict[str, Any] = {}
            shared = self._values.shared
            if shared is not None and pairs.shared is not None:
                more["shared"] = shared * (pairs.shared @ slopes)
            if pairs.level is not None:
                slopes = slopes * self._values.tilt**pairs.level
                more["tilt"] = np.vdot(slopes * own, pairs.level)
            gradient = self._gradient(terms, pairs, slopes) | more
            gradient["noise"] = self._values.noise * slopes[diagonal].sum()
            return self._kernel.hyperparameters.gradient(gradient)

        return self._with_sources(own, pairs), pullback

    def _gradient(self, terms: Terms, pairs: Pairs, slopes: Array) -> dict[str, Any]:
        """Gradient by the log hyperparameters but the noise, from that by covariances, [pairs]."""
        values, each, additive = self._values, terms.each, terms.additive
        before, after = additive.before, additive.after
        main_effects, pair_effects, triple_effects = self._scales
        up, down = each * after, each * before
        of_each = before * after  # by v_i, in place from here on
        of_each += self._upper @ up
        of_each += self._lower @ down
        of_each *= triple_effects
        of_each += 2 * pair_effects * additive.partners
        of_each += main_effects
        of_each *= slopes
        of_product = slopes * terms.product
        of_product_lengths = self._product_slope.take(pairs.entries) @ of_product
        sloped = each * slopes
        of_coupling = pair_effects * self._coupling * (sloped @ each.T)  # by its logarithm
        of_lower = self._lower * ((up * slopes) @ each.T + sloped @ down.T)
        distance = self._kernel.between / values.interaction_length
        of_cost = slopes * terms.cost
        of_lengths = np.einsum("ip,ip->i", of_each, self._slope.take(pairs.entries))
        return {
            "trend": np.vdot(slopes, terms.trend),
            "cost": of_cost.sum(),
            "main_effects": np.vdot(slopes, additive.main_effects),
            "pair_effects": np.vdot(slopes, additive.pair_effects),
            "triple_effects": np.vdot(slopes, additive.triple_effects),
            "product": of_product.sum(),
            "interaction_length": np.vdot(of_coupling + triple_effects * of_lower, distance),
            "cost_length": np.vdot(of_cost, matern_slope(pairs.distance / values.cost_length)),
            "product_cost_length": np.vdot(
                of_product, matern_slope(pairs.distance / values.product_cost_length)
            ),
            "shared_length": of_lengths.sum(),
            "shared_product_length": of_product_lengths.sum(),
            "weight": np.einsum("ip,ip->i", of_each, each),
            "length": of_lengths,
            "product_length": of_product_lengths,
            "pair_weight": 2 * of_coupling[self._kernel.choice_pairs],
        }

    def _terms(self, pairs: Pairs, workspace: Array) -> Terms:
        values = self._values
        each, sums = workspace[: len(pairs.entries)], workspace[len(pairs.entries) :]
        # Mode "clip" writes into `out`, "raise" writes elsewhere and copies.
        self._each.take(pairs.entries, out=each, mode="clip")
        product = self._log_product.take(pairs.entries).sum(0)
        return Terms(
            values.trend * pairs.product,
            values.cost * matern(pairs.distance / values.cost_length),
            each,
            self._additive(each, sums),
            values.product * matern(pairs.distance / values.product_cost_length, product),
        )

    def _additive(self, each: Array, sums: Array) -> AdditiveTerms:
        """From v_i, [choices, pairs], and memory for the sums, [3 * choices, pairs]."""
        main_effects, pair_effects, triple_effects = self._scales
        np.matmul(self._sums, each, out=sums)
        count = len(each)
        partners, before, after = sums[:count], sums[count : 2 * count], sums[2 * count :]
        return AdditiveTerms(
            partners,
            before,
            after,
            main_effects * each.sum(0),
            pair_effects * np.einsum("ip,ip->p", each, partners),
            triple_effects * np.einsum("ip,ip,ip->p", each, before, after),
        )


def covariances(kernels: Sequence[Covariance], a: Points, b: Points) -> Array:
    """Covariances of A architectures with B others, [kernels, A, B].

    Pairs do not depend on the hyperparameters, so they are made once for all kernels.
    """
    matrices = np.empty((len(kernels), len(a.codes), len(b.codes)))
    width = max(1, CHUNK // max(1, len(a.codes)))
    for start in range(0, len(b.codes), width):
        part = matrices[:, :, start : start + width]
        pairs = kernels[0]._kernel.pairs(a, b.part(slice(start, start + width)))
        workspace = pairs.workspace()
        for index, kernel in enumerate(kernels):
            part[index] = kernel.of_pairs(pairs, workspace).reshape(part.shape[1:])
    return matrices


def _shared(a: Points, b: Points) -> Array:
    """1 + m_s m_s' + K_s of (3), [sources, A, B]."""
    assert a.predicted is not None
    assert b.predicted is not None
    shared: Array = 1.0 + a.predicted.T[:, :, None] * b.predicted.T[:, None, :]
    for index, (one, other) in enumerate(zip(a.uncertain, b.uncertain, strict=True)):
        if one is not None and other is not None:
            shared[index] += one.between(other)
    return shared


def _distance_of_costs(a: Array, b: Array) -> Array:
    if a.shape[1] == 1:
        return np.abs(a - b.T)
    distances: Array = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return distances
