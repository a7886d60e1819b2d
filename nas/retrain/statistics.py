"""Retraining statistics: noise between seeds, rank correlations, non-dominated networks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from nas.pareto import non_dominated

CONFIDENCE = 0.95
DRAWS = 2000
FEWEST = 3  # networks; fewer have no rank correlation


@dataclass(frozen=True)
class Noise:
    """Noise of log errors, from which intervals and comparisons follow.

    The log error of a training is log(1 - accuracy) on the test set. Trainings of a network of
    75 % accuracy differ by more points than those of one of 95 %, but by about the same share of
    their error.
    """

    sd: float | None  # of one training, between seeds; None: not known, there is one seed each
    degrees: float  # of freedom of `sd`; infinity where it is not estimated
    images: int  # of the test set

    @property
    def source(self) -> str:
        """Where the variance comes from: `seeds` or `test images`."""
        return "test images" if self.sd is None else "seeds"

    def variance(self, accuracies: Sequence[float]) -> float:
        """Variance of a network's mean log error.

        Where the noise between seeds is not known, it is the binomial one of the test set. No
        error is known to less than half an image.

        Args:
            accuracies: the network's test accuracies, one for each seed.
        """
        least = _least_error(self.images)
        error = math.exp(log_error(accuracies, self.images))
        if self.sd is not None:
            return max(self.sd, least / error) ** 2 / len(accuracies)
        error = min(error, 1 - least)
        return (1 - error) / (error * self.images) / len(accuracies)

    def half_width(self, variance: float, comparisons: int = 1) -> float:
        """Half width of the interval of a mean log error, or a difference, with `CONFIDENCE`.

        Args:
            variance: of the mean or the difference.
            comparisons: intervals that hold jointly (Bonferroni's adjustment).
        """
        quantile = float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, self.degrees))
        return quantile * math.sqrt(variance)

    def interval(self, accuracies: Sequence[float]) -> tuple[float, float]:
        """Interval of a network's test accuracy, with `CONFIDENCE`; it holds the mean.

        Args:
            accuracies: one for each seed.
        """
        mean, half = fmean(accuracies), self.half_width(self.variance(accuracies))
        error = math.exp(log_error(accuracies, self.images))
        low, high = (1 - error * math.exp(sign * half) for sign in (1, -1))
        return min(mean, max(0.0, low)), max(mean, high)


def log_error(accuracies: Sequence[float], images: int) -> float:
    """Mean logarithm of the errors of a network on a test set of so many images.

    No error is smaller than half an image.
    """
    return fmean(_log_errors(accuracies, images))


def _log_errors(accuracies: Sequence[float], images: int) -> list[float]:
    return [math.log(max(1 - accuracy, _least_error(images))) for accuracy in accuracies]


def _least_error(images: int) -> float:
    return 0.5 / images


def estimate_noise(accuracies: Sequence[Sequence[float]], images: int) -> Noise:
    """The standard deviation of log errors between seeds, pooled over networks.

    Where every network has one seed it is not known, and intervals are those of the binomial
    noise of the test set, which does not include the noise of training.

    Args:
        accuracies: one list for each network, one test accuracy for each seed.
        images: of the test set.
    """
    degrees = sum(len(one) - 1 for one in accuracies)
    if not degrees:
        return Noise(None, math.inf, images)
    each = [np.array(_log_errors(one, images)) for one in accuracies]
    squares = sum(float(((one - one.mean()) ** 2).sum()) for one in each)
    return Noise(math.sqrt(squares / degrees), degrees, images)


def wilson(share: float, images: int) -> tuple[float, float]:
    """Wilson's score interval of a share of so many images, with `CONFIDENCE`.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    z2 = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) ** 2 / images
    half = math.sqrt(z2 * share * (1 - share) + z2 * z2 / 4)
    low, high = ((share + z2 / 2 + sign * half) / (1 + z2) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def not_significantly_different(
    accuracies: Sequence[Sequence[float]], noise: Noise
) -> list[list[int]]:
    """For each network, the others from which its mean log error does not differ significantly.

    The Tukey-Kramer test of all pairs jointly, with `CONFIDENCE`.

    Args:
        accuracies: one list for each network, one test accuracy for each seed.
        noise: noise of all of them.
    """
    count = len(accuracies)
    if count < 2:
        return [[] for _ in accuracies]
    means = [log_error(one, noise.images) for one in accuracies]
    variances = [noise.variance(one) for one in accuracies]
    degrees = min(noise.degrees, 1e5)  # scipy's integral has no limit at infinity
    quantile = float(stats.studentized_range.ppf(CONFIDENCE, count, degrees))

    def least(i: int, j: int) -> float:
        return quantile * math.sqrt((variances[i] + variances[j]) / 2)

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

    stays: tuple[bool, ...]  # by the mean log errors
    probability: tuple[float, ...]  # of staying non-dominated, under the noise of the means
    low: int  # how many stay, an interval with `CONFIDENCE`
    high: int


def remaining(
    costs: Sequence[float], accuracies: Sequence[Sequence[float]], noise: Noise
) -> Remaining:
    """Non-dominated by (cost, mean log error), and a parametric bootstrap of it.

    Each draw samples the variance of the noise from its scaled inverse chi-squared
    distribution, then adds noise to the mean log errors.

    Args:
        costs: of each network.
        accuracies: one list for each network, one test accuracy for each seed.
        noise: noise of all of them.
    """
    x = np.array(costs, float)
    y = np.array([log_error(one, noise.images) for one in accuracies])
    sds = np.sqrt([noise.variance(one) for one in accuracies])
    rng = np.random.default_rng(0)
    finite = math.isfinite(noise.degrees)
    factors = (
        np.sqrt(noise.degrees / rng.chisquare(noise.degrees, DRAWS)) if finite else np.ones(DRAWS)
    )
    drawn = y + rng.standard_normal((DRAWS, len(y))) * sds * factors[:, None]
    kept = np.array([non_dominated(np.column_stack([x, one])) for one in drawn])
    low, high = np.quantile(
        kept.sum(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest"
    )
    stays = non_dominated(np.column_stack([x, y]))
    return Remaining(tuple(map(bool, stays)), tuple(map(float, kept.mean(0))), int(low), int(high))
