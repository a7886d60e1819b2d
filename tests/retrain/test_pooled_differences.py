"""Differences between searched networks and their references: what their intervals cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nas.retrain.differences import differences
from nas.retrain.references import SEARCHED, TWIN
from nas.retrain.statistics import estimate_noise

NAMES = ("small", "middle", "large")
SEEDS = {"small": 1, "middle": 2, "large": 3}
GAPS = {"small": 0.02, "middle": 0.01, "large": 0.0}  # over the twins, in truth


def rows(rng: np.random.Generator, sd: float) -> list[dict[str, Any]]:
    """Three networks and their twins of equal cost, and a larger network of another kind."""
    made = []
    for cost, name in enumerate(NAMES, 1):
        for family, of in ((SEARCHED, None), (TWIN, name)):
            truth = 0.9 + (GAPS[name] if of is None else 0.0)
            tests = truth + sd * rng.standard_normal(SEEDS[name])
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
    found = differences(rows(np.random.default_rng(0), 1e-9), estimate_noise([[0.9, 0.9]], 10**9))
    compared = {row["reference"]: row["network"] for row in found["differences"]}
    assert compared == {f"equal-cost-twin-{name}": name for name in NAMES} | {
        "mobilenetv2-0.05": "large"
    }
    (pooled,) = found["pooled"]
    assert (pooled["reference"], pooled["pairs"]) == ("equal-cost-twin", 3)
    # Variances of the differences are 2, 1 and 2/3, so the weights are 1/2, 1 and 3/2.
    assert pooled["difference"] == pytest.approx((0.02 / 2 + 0.01 + 0.0) / 3)
    assert found["comparisons"] == 5


def test_one_pair_is_not_pooled() -> None:
    pair = rows(np.random.default_rng(0), 0.01)[:2]
    found = differences(pair, estimate_noise([[0.9, 0.91]], 10**4))
    assert (found["pooled"], found["comparisons"]) == ([], 1)
    (row,) = found["differences"]
    assert (row["low"], row["high"]) == (row["joint_low"], row["joint_high"])


def test_nothing_searched_nothing_compared() -> None:
    twins = [row for row in rows(np.random.default_rng(0), 0.01) if row["family"] == TWIN]
    found = differences(twins, estimate_noise([[0.9, 0.91]], 10**4))
    assert found == {"differences": [], "pooled": [], "comparisons": 0}


def test_the_joint_intervals_hold_together_and_the_single_ones_alone() -> None:
    """Noise estimated from the same trainings; 1,500 simulated retrainings."""
    rng, alone, jointly = np.random.default_rng(1), [], []
    weights = {"small": 0.5, "middle": 1.0, "large": 1.5}
    mean = sum(GAPS[name] * weight for name, weight in weights.items()) / 3
    for _ in range(1500):
        networks = rows(rng, 0.01)[:-1]
        found = differences(
            networks, estimate_noise([row["test_accuracies"] for row in networks], 10**9)
        )
        truths = [*(GAPS[row["network"]] for row in found["differences"]), mean]
        intervals = [*found["differences"], *found["pooled"]]
        alone.append(found["pooled"][0]["low"] <= mean <= found["pooled"][0]["high"])
        jointly.append(
            all(
                row["joint_low"] <= truth <= row["joint_high"]
                for row, truth in zip(intervals, truths, strict=True)
            )
        )
    assert np.mean(alone) == pytest.approx(0.95, abs=0.015)
    assert np.mean(jointly) >= 0.945
