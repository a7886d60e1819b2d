"""What the seeds tell: intervals that cover, agreement with scipy's own tests, plain cases."""

from __future__ import annotations

import math

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


def test_noise_is_pooled_over_networks() -> None:
    found = estimate_noise([[0.90, 0.92], [0.80, 0.80, 0.83], [0.7]], images=10_000)
    within = [np.var([0.90, 0.92], ddof=1), np.var([0.80, 0.80, 0.83], ddof=1)]
    assert found.sd == pytest.approx(math.sqrt((within[0] + 2 * within[1]) / 3))
    assert (found.degrees, found.source) == (3, "seeds")


def test_one_seed_each_leaves_the_counting_of_images() -> None:
    found = estimate_noise([[0.9], [0.9]], images=1000)
    assert (found.sd, found.source) == (pytest.approx(math.sqrt(0.09 / 1000)), "test images")


def test_intervals_cover_the_truth() -> None:
    """Means of 2 and 3 seeds, noise estimated from 5 networks: 95 % of 2,000 intervals."""
    rng = np.random.default_rng(1)
    truths, seeds, covered = np.linspace(0.8, 0.9, 5), [2, 3, 1, 1, 2], []
    for _ in range(2000):
        runs = [list(t + 0.01 * rng.standard_normal(n)) for t, n in zip(truths, seeds, strict=True)]
        of = estimate_noise(runs, images=10**9)
        error = np.mean(runs[1]) - np.mean(runs[4]) - (truths[1] - truths[4])
        covered.append(abs(error) <= of.half_width(1 / (1 / 3 + 1 / 2)))
        covered.append(abs(np.mean(runs[2]) - truths[2]) <= of.half_width(1))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_pairs_that_do_not_differ_agree_with_scipys_tukey() -> None:
    rng = np.random.default_rng(2)
    runs = [list(rng.normal(mean, 0.01, 4)) for mean in (0.90, 0.905, 0.93, 0.95)]
    means, of = [float(np.mean(run)) for run in runs], estimate_noise(runs, images=10**9)
    expected = stats.tukey_hsd(*runs).pvalue
    ours = not_significantly_different(means, [4] * 4, of)
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
    costs, means = [1, 2, 3, 4], [0.80, 0.90, 0.89, 0.95]
    sure = remaining(costs, means, [1] * 4, Noise(1e-6, 10, "seeds"))
    assert sure.stays == (True, True, False, True)
    assert sure.probability == (1, 1, 0, 1)
    assert (sure.low, sure.high) == (3, 3)
    unsure = remaining(costs, means, [1] * 4, Noise(0.02, math.inf, "test images"))
    assert unsure.stays == sure.stays
    # The third stays where 0.89 + e3 > 0.90 + e2 and 0.80 + e1: about a normal's tail.
    assert unsure.probability[2] == pytest.approx(stats.norm.sf(0.01 / 0.02 / 2**0.5), abs=0.02)
    assert unsure.low < 3 < unsure.high
