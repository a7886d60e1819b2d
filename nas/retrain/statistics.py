"""Retraining statistics: noise between seeds, rank correlations, non-dominated networks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nas.pareto import non_dominated

CONFIDENCE = 0.95
DRAWS = 2000
FEWEST = 3  # networks; fewer have no rank correlation


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one training's test accuracy about its network's mean."""

    sd: float
    degrees: float  # of freedom; infinity where it is computed, not estimated
    source: str  # `seeds` or `test images`

    def half_width(self, seeds: float, comparisons: int = 1) -> float:
        """Of the interval of the mean of so many seeds, with `CONFIDENCE`.

        Args:
            seeds: of a difference of two means 1 / (1 / s + 1 / t) for s and t seeds.
            comparisons: intervals that hold jointly (Bonferroni's adjustment).
        """
        quantile = float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, self.degrees))
        return quantile * self.sd / math.sqrt(seeds)


def estimate_noise(accuracies: Sequence[Sequence[float]], images: int) -> Noise:
    """The standard deviation between seeds, pooled over networks.

    Where every network has one seed it is the binomial noise of the test set, which does not
    include the noise of training.

    Args:
        accuracies: one list for each network, one accuracy for each seed.
        images: of the test set.
    """
    degrees = sum(len(one) - 1 for one in accuracies)
    if degrees:
        squares = sum(float(((np.array(one) - np.mean(one)) ** 2).sum()) for one in accuracies)
        # The resolution of a test set: half an image.
        return Noise(max(math.sqrt(squares / degrees), 0.5 / images), degrees, "seeds")
    mean = float(np.mean([one[0] for one in accuracies]))
    sd = math.sqrt(max(mean * (1 - mean), 1 / images) / images)
    return Noise(sd, math.inf, "test images")


def wilson(share: float, images: int) -> tuple[float, float]:
    """Wilson's score interval of a share of so many images, with `CONFIDENCE`.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    z2 = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) ** 2 / images
    half = math.sqrt(z2 * share * (1 - share) + z2 * z2 / 4)
    low, high = ((share + z2 / 2 + sign * half) / (1 + z2) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def not_significantly_different(
    means: Sequence[float], seeds: Sequence[int], noise: Noise
) -> list[list[int]]:
    """For each network, the others from which its mean does not differ significantly.

    The Tukey-Kramer test of all pairs jointly, with `CONFIDENCE`.
    """
    count = len(means)
    if count < 2:
        return [[] for _ in means]
    degrees = min(noise.degrees, 1e5)  # scipy's integral has no limit at infinity
    quantile = float(stats.studentized_range.ppf(CONFIDENCE, count, degrees))

    def least(i: int, j: int) -> float:
        return quantile * noise.sd * math.sqrt((1 / seeds[i] + 1 / seeds[j]) / 2)

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
    """Kendall's tau-b and Spearman's rho; None for fewer than `FEWEST` networks or equal values.

    The intervals are percentile bootstraps over networks; with few networks they are wide.
    """
    x, y = np.array(short), np.array(full)
    if len(x) < FEWEST or len(set(short)) < 2 or len(set(full)) < 2:
        return None
    chosen = np.random.default_rng(0).integers(len(x), size=(DRAWS, len(x)))
    ranks = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)  # a draw of equal values: NaN
        for name, measure in (("kendall", stats.kendalltau), ("spearman", stats.spearmanr)):
            drawn = [measure(x[draw], y[draw]).statistic for draw in chosen]
            low, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            values = (measure(x, y).statistic, low, high)
            # SciPy's last digits vary: 0.9999999999999999 for equal ranks.
            ranks[name] = Rank(*(round(float(value), 12) for value in values))
    return ranks


@dataclass(frozen=True)
class Remaining:
    """Which networks stay non-dominated after full training."""

    stays: tuple[bool, ...]  # by the means
    probability: tuple[float, ...]  # of staying non-dominated, under the noise of the means
    low: int  # how many stay, an interval with `CONFIDENCE`
    high: int


def remaining(
    costs: Sequence[float], means: Sequence[float], seeds: Sequence[int], noise: Noise
) -> Remaining:
    """Non-dominated by (cost, mean accuracy), and a parametric bootstrap of it.

    Each draw samples the variance of the noise from its scaled inverse chi-squared
    distribution, then adds noise to all means.
    """
    x, y, n = np.array(costs, float), np.array(means, float), np.array(seeds, float)
    rng = np.random.default_rng(0)
    finite = math.isfinite(noise.degrees)
    sds = (
        noise.sd * np.sqrt(noise.degrees / rng.chisquare(noise.degrees, DRAWS))
        if finite
        else np.full(DRAWS, noise.sd)
    )
    drawn = y + rng.standard_normal((DRAWS, len(y))) * sds[:, None] / np.sqrt(n)
    kept = np.array([non_dominated(np.column_stack([x, -one])) for one in drawn])
    low, high = np.quantile(
        kept.sum(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest"
    )
    stays = non_dominated(np.column_stack([x, -y]))
    return Remaining(tuple(map(bool, stays)), tuple(map(float, kept.mean(0))), int(low), int(high))
