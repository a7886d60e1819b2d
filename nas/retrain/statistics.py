"""What retraining says about a search: noise of the seeds, ranks, who stays on the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nas.pareto import non_dominated

Array = NDArray[np.float64]
CONFIDENCE = 0.95
DRAWS = 2000
FEWEST = 3  # networks below which ranks mean nothing


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one training's test accuracy about its network's mean."""

    sd: float
    degrees: float  # of freedom; infinity where it is computed, not estimated
    source: str  # `seeds` or `test images`

    def half_width(self, seeds: int) -> float:
        """Of the interval of the mean of so many seeds, with `CONFIDENCE`."""
        return float(stats.t.ppf((1 + CONFIDENCE) / 2, self.degrees)) * self.sd / math.sqrt(seeds)

    def difference_half_width(self, seeds: tuple[int, int]) -> float:
        """The same for the difference of two means."""
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.degrees))
        return quantile * self.sd * math.sqrt(1 / seeds[0] + 1 / seeds[1])


def noise(accuracies: Sequence[Sequence[float]], images: int) -> Noise:
    """The spread between seeds, pooled over networks.

    Without any network of two seeds: that of counting right answers among so many images,
    which says nothing of the training itself.

    Args:
        accuracies: of each network, one number a seed.
        images: of the test set.
    """
    degrees = sum(len(of) - 1 for of in accuracies)
    if degrees:
        squares = sum(float(((np.array(of) - np.mean(of)) ** 2).sum()) for of in accuracies)
        # One image more or less is the least that can be seen.
        return Noise(max(math.sqrt(squares / degrees), 0.5 / images), degrees, "seeds")
    mean = float(np.mean([of[0] for of in accuracies]))
    sd = math.sqrt(max(mean * (1 - mean), 1 / images) / images)
    return Noise(sd, math.inf, "test images")


def not_told_apart(means: Sequence[float], seeds: Sequence[int], of: Noise) -> list[list[int]]:
    """For each network the others from which its mean does not differ significantly.

    Tukey's and Kramer's test: all pairs jointly, with `CONFIDENCE`.
    """
    count = len(means)
    if count < 2:
        return [[] for _ in means]
    degrees = min(of.degrees, 1e5)  # scipy's integral has no limit at infinity
    quantile = float(stats.studentized_range.ppf(CONFIDENCE, count, degrees))

    def least(i: int, j: int) -> float:
        return quantile * of.sd * math.sqrt((1 / seeds[i] + 1 / seeds[j]) / 2)

    return [
        [j for j in range(count) if j != i and abs(means[i] - means[j]) <= least(i, j)]
        for i in range(count)
    ]


@dataclass(frozen=True)
class Rank:
    """A rank correlation with its bootstrap interval over networks."""

    value: float
    low: float
    high: float


def rank_correlations(short: Sequence[float], full: Sequence[float]) -> dict[str, Rank] | None:
    """Kendall's tau-b and Spearman's rho; None where too few networks, or ties, forbid them.

    The intervals resample networks (percentile bootstrap); with few networks they are wide.
    """
    x, y = np.array(short), np.array(full)
    if len(x) < FEWEST or len(set(short)) < 2 or len(set(full)) < 2:
        return None
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(x), size=(DRAWS, len(x)))
    chosen[0] = np.arange(len(x))  # the networks themselves
    found = {}
    for name, measure in (("kendall", _kendall), ("spearman", _spearman)):
        value, *drawn = measure(x[chosen], y[chosen])
        low, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        found[name] = Rank(float(value), float(low), float(high))
    return found


def _kendall(x: Array, y: Array) -> Array:
    """Tau-b of each row; NaN where all of a row's values are equal."""
    over, under = np.triu_indices(x.shape[1], 1)
    a, b = np.sign(x[:, over] - x[:, under]), np.sign(y[:, over] - y[:, under])
    return _cosine(a, b)


def _spearman(x: Array, y: Array) -> Array:
    """Rho of each row; NaN where all of a row's values are equal."""
    a, b = stats.rankdata(x, axis=1), stats.rankdata(y, axis=1)
    return _cosine(a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True))


def _cosine(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore"):
        ratio: Array = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return ratio


@dataclass(frozen=True)
class Remaining:
    """Which networks no other one dominates after full training."""

    stays: tuple[bool, ...]  # by the means
    probability: tuple[float, ...]  # that it does, under the noise of the means
    low: int  # how many do, an interval with `CONFIDENCE`
    high: int


def remaining(
    costs: Sequence[float], means: Sequence[float], seeds: Sequence[int], of: Noise
) -> Remaining:
    """Non-dominated by (cost, mean accuracy), and a parametric bootstrap of it.

    Each draw takes the noise's variance from its own distribution and disturbs all means.
    """
    x, y, n = np.array(costs, float), np.array(means, float), np.array(seeds, float)
    rng = np.random.default_rng(0)
    finite = math.isfinite(of.degrees)
    sds = (
        of.sd * np.sqrt(of.degrees / rng.chisquare(of.degrees, DRAWS))
        if finite
        else np.full(DRAWS, of.sd)
    )
    drawn = y + rng.standard_normal((DRAWS, len(y))) * sds[:, None] / np.sqrt(n)
    kept = np.array([non_dominated(np.column_stack([x, -one])) for one in drawn])
    low, high = np.quantile(
        kept.sum(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest"
    )
    stays = non_dominated(np.column_stack([x, -y]))
    return Remaining(tuple(map(bool, stays)), tuple(map(float, kept.mean(0))), int(low), int(high))
