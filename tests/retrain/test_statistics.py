"""What the seeds tell: intervals that cover, agreement with scipy's own tests, plain cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from nas.retrain.statistics import (
    Noise,
    estimate_noise,
    not_significantly_different,
    rank_correlations,
    remaining,
)


def trainings(
    rng: np.random.Generator, errors: Sequence[float], seeds: Sequence[int], sd: float
) -> list[list[float]]:
    """Test accuracies whose log errors are normal around those of `errors`."""
    return [
        list(1 - error * np.exp(sd * rng.standard_normal(count)))
        for error, count in zip(errors, seeds, strict=True)
    ]


def test_noise_is_pooled_over_networks() -> None:
    found = estimate_noise([[0.90, 0.92], [0.60, 0.60, 0.63], [0.7]], images=10_000)
    within = [np.var(np.log([0.10, 0.08]), ddof=1), np.var(np.log([0.4, 0.4, 0.37]), ddof=1)]
    assert found.sd == pytest.approx(math.sqrt((within[0] + 2 * within[1]) / 3))
    assert (found.degrees, found.source) == (3, "seeds")


def test_one_seed_each_leaves_the_counting_of_images() -> None:
    found = estimate_noise([[0.9], [0.5]], images=1000)
    assert (found.sd, found.source) == (None, "test images")
    # Of a share p the logarithm has the relative standard deviation of p.
    assert found.variance([0.9]) == pytest.approx(0.9 / 0.1 / 1000)
    assert found.variance([0.5]) == pytest.approx(1 / 1000)


def test_equal_accuracies_are_known_to_half_an_image() -> None:
    found = estimate_noise([[0.9, 0.9], [0.9, 0.9]], images=1000)
    assert found.variance([0.9, 0.9]) == pytest.approx((0.0005 / 0.1) ** 2 / 2)


@pytest.mark.parametrize("images", [10, 1000])
@pytest.mark.parametrize(
    "runs", [[[1.0, 1.0], [0.8, 0.9]], [[1.0, 0.9], [0.9, 0.9]], [[1.0], [0.0]]]
)
def test_accuracies_at_the_ends_have_intervals(runs: list[list[float]], images: int) -> None:
    noise = estimate_noise(runs, images)
    for run in runs:
        low, high = noise.interval(run)
        assert 0 <= low <= float(np.mean(run)) <= high <= 1
        assert low < high


def test_equal_networks_of_one_seed_are_told_apart_in_a_twentieth_of_cases() -> None:
    """The binomial noise of 1,000 images; three networks, all pairs jointly."""
    rng, apart = np.random.default_rng(3), []
    for accuracies in rng.binomial(1000, 0.9, (600, 3)) / 1000:
        runs = [[float(one)] for one in accuracies]
        same = not_significantly_different(runs, estimate_noise(runs, 1000))
        apart.append(any(len(others) < 2 for others in same))
    assert np.mean(apart) == pytest.approx(0.05, abs=0.025)


def test_intervals_cover_the_truth() -> None:
    """Networks of 1 to 3 seeds and 95 to 75 % accuracy: 95 % of the intervals of each of them."""
    rng = np.random.default_rng(1)
    errors, seeds = np.linspace(0.05, 0.25, 5), [2, 3, 1, 1, 2]
    covered: list[list[bool]] = []
    for _ in range(2000):
        runs = trainings(rng, errors, seeds, 0.05)
        of = estimate_noise(runs, images=10**9)
        intervals = [of.interval(run) for run in runs]
        covered.append(
            [low <= 1 - e <= high for (low, high), e in zip(intervals, errors, strict=True)]
        )
    for share in np.mean(covered, 0):
        assert share == pytest.approx(0.95, abs=0.015)


def test_pairs_that_do_not_differ_agree_with_scipys_tukey() -> None:
    rng = np.random.default_rng(2)
    runs = trainings(rng, (0.10, 0.095, 0.07, 0.05), [4] * 4, 0.1)
    expected = stats.tukey_hsd(*(np.log(1 - np.array(run)) for run in runs)).pvalue
    ours = not_significantly_different(runs, estimate_noise(runs, images=10**9))
    for i in range(4):
        assert ours[i] == [j for j in range(4) if j != i and expected[i, j] >= 0.05]
    assert any(ours)
    assert not all(len(of) == 3 for of in ours)


def test_ranks_of_plain_cases() -> None:
    short = [0.5, 0.6, 0.7, 0.8, 0.9]
    same = rank_correlations(short, [0.80, 0.81, 0.85, 0.86, 0.9])
    assert same is not None
    assert (same["kendall"].value, same["spearman"].value) == pytest.approx((1, 1))
    mixed = rank_correlations(short, [0.81, 0.80, 0.85, 0.9, 0.86])
    assert mixed is not None
    assert mixed["kendall"].value == pytest.approx(0.6)
    assert mixed["kendall"].low < 0.6 < mixed["kendall"].high
    tied = rank_correlations(short, [0.8, 0.9, 0.8, 0.9, 0.9])
    assert tied is not None
    assert tied["kendall"].value == pytest.approx(
        stats.kendalltau(short, [0.8, 0.9, 0.8, 0.9, 0.9]).statistic
    )
    assert tied["spearman"].value == pytest.approx(
        stats.spearmanr(short, [0.8, 0.9, 0.8, 0.9, 0.9]).statistic
    )
    assert rank_correlations(short[:2], short[:2]) is None
    assert rank_correlations(short, [0.9] * 5) is None


def test_who_stays_on_the_front() -> None:
    costs, runs = [1, 2, 3, 4], [[0.80], [0.90], [0.89], [0.95]]
    sure = remaining(costs, runs, Noise(1e-6, 10, 10**9))
    assert sure.stays == (True, True, False, True)
    assert sure.probability == (1, 1, 0, 1)
    assert (sure.low, sure.high) == (3, 3)
    unsure = remaining(costs, runs, Noise(0.3, math.inf, 10**9))
    assert unsure.stays == sure.stays
    # The third stays where it has fewer errors than the second: a normal's tail.
    tail = stats.norm.sf(math.log(0.11 / 0.10) / 0.3 / 2**0.5)
    assert unsure.probability[2] == pytest.approx(tail, abs=0.03)
    assert unsure.low < 3 < unsure.high


def test_staying_and_its_probability_go_by_the_same_means() -> None:
    """Of the first network one seed failed: its mean is below the second's, its median above."""
    found = remaining([1, 2], [[0.98, 0.82], [0.905, 0.905]], Noise(0.01, 4, 1000))
    assert found.stays == (True, False)
    assert found.probability == (1, 0)
    assert (found.low, found.high) == (1, 1)
