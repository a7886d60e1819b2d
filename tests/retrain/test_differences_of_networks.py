"""Differences between searched networks and their references: what their intervals cover."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nas.retrain.differences import differences, mean_difference
from nas.retrain.references import SEARCHED, TWIN
from nas.retrain.statistics import Noise, estimate_noise

NAMES = ("small", "middle", "large")
SEEDS = {"small": 1, "middle": 2, "large": 3}
TWIN_ERRORS = {"small": 0.3, "middle": 0.1, "large": 0.05}  # in truth
FEWER = {"small": 0.2, "middle": 0.1, "large": 0.0}  # share of them, in truth
MEAN = 1 - math.exp(float(np.mean([math.log(1 - fewer) for fewer in FEWER.values()])))
IMAGES = 10**9


def rows(rng: np.random.Generator, sd: float) -> list[dict[str, Any]]:
    """Three networks and their twins of equal cost, and a larger network of another kind.

    Args:
        rng: of the noise.
        sd: of log errors between seeds.
    """
    made = []
    for cost, name in enumerate(NAMES, 1):
        for family, of in ((SEARCHED, None), (TWIN, name)):
            truth = TWIN_ERRORS[name] * (1 - FEWER[name] if of is None else 1.0)
            tests = 1 - truth * np.exp(sd * rng.standard_normal(SEEDS[name]))
            made.append(
                {
                    "name": name if of is None else f"equal-cost-twin-{name}",
                    "family": family,
                    "of": of,
                    "macs": cost * 10**6,
                    "seeds": len(tests),
                    "test_accuracies": list(tests),
                    "test_accuracy": float(np.mean(tests)),
                }
            )
    other = {"name": "mobilenetv2-0.05", "family": "mobilenetv2", "of": None, "macs": 10**7}
    return [*made, made[0] | other]


def test_what_is_compared_with_what() -> None:
    found = differences(rows(np.random.default_rng(0), 1e-9), Noise(1e-9, 1, IMAGES))
    compared = {row["reference"]: row["network"] for row in found["differences"]}
    assert compared == {f"equal-cost-twin-{name}": name for name in NAMES} | {
        "mobilenetv2-0.05": "large"
    }
    for row in found["differences"][:3]:
        name = row["network"]
        assert row["fewer_errors"] == pytest.approx(FEWER[name], abs=1e-6)
        assert row["difference"] == pytest.approx(FEWER[name] * TWIN_ERRORS[name], abs=1e-6)
    (mean,) = found["mean_differences"]
    assert (mean["reference"], mean["pairs"]) == ("equal-cost-twin", 3)
    assert mean["fewer_errors"] == pytest.approx(MEAN)
    assert mean["difference"] == pytest.approx((0.2 * 0.3 + 0.1 * 0.1 + 0.0) / 3)
    assert found["comparisons"] == 5


def test_one_pair_has_no_mean() -> None:
    pair = rows(np.random.default_rng(0), 0.01)[:2]
    found = differences(pair, Noise(0.05, 1, IMAGES))
    assert (found["mean_differences"], found["comparisons"]) == ([], 1)
    (row,) = found["differences"]
    assert (row["low"], row["high"]) == (row["joint_low"], row["joint_high"])
    assert row["low"] < row["fewer_errors"] < row["high"]


def test_nothing_searched_nothing_compared() -> None:
    twins = [row for row in rows(np.random.default_rng(0), 0.01) if row["family"] == TWIN]
    found = differences(twins, Noise(0.05, 1, IMAGES))
    assert found == {"differences": [], "mean_differences": [], "comparisons": 0}


def test_the_joint_intervals_hold_together_and_the_single_ones_alone() -> None:
    """Noise estimated from the same trainings; 1,500 simulated retrainings."""
    rng, alone, each, jointly = np.random.default_rng(1), [], [], []
    for _ in range(1500):
        networks = rows(rng, 0.05)[:-1]
        noise = estimate_noise([row["test_accuracies"] for row in networks], IMAGES)
        found = differences(networks, noise)
        truths = [*(FEWER[row["network"]] for row in found["differences"]), MEAN]
        (mean,) = found["mean_differences"]
        intervals = [*found["differences"], mean]
        alone.append(mean["low"] <= MEAN <= mean["high"])
        each.append([row["low"] <= FEWER[row["network"]] <= row["high"] for row in intervals[:-1]])
        jointly.append(
            all(
                row["joint_low"] <= truth <= row["joint_high"]
                for row, truth in zip(intervals, truths, strict=True)
            )
        )
    assert np.mean(alone) == pytest.approx(0.95, abs=0.015)
    for share in np.mean(each, 0):  # of the inaccurate pair as of the accurate one
        assert share == pytest.approx(0.95, abs=0.015)
    assert np.mean(jointly) >= 0.945


def test_an_interval_without_information_is_finite() -> None:
    """Two seeds in all, far apart, and many comparisons."""
    runs = [[0.9, 0.1], [0.5]]
    pair = [
        row | {"test_accuracies": tests, "test_accuracy": float(np.mean(tests))}
        for row, tests in zip(rows(np.random.default_rng(0), 0.01)[:2], runs, strict=True)
    ]
    found = mean_difference([(pair[0], pair[1])], estimate_noise(runs, 1000), 30)
    assert found["joint_low"] == pytest.approx(
        1 - 2 * 1000
    )  # all images wrong, in place of half an image
    assert 0.99 < found["joint_high"] <= 1
