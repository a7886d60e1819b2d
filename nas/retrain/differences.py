"""Differences in test errors between searched networks and those they are compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from nas.retrain.references import SEARCHED
from nas.retrain.statistics import Noise, log_error

Row = dict[str, Any]


def differences(rows: Sequence[Row], noise: Noise) -> dict[str, Any]:
    """Each difference, and the mean of those of the same kind.

    A network's own twin is compared with it, any other reference with the searched network
    whose multiply-adds are nearest, in ratio.

    Args:
        rows: `networks` of `nas.retrain.comparison.summarise`.
        noise: noise of all networks.

    Returns:
        - `differences`: each pair's, see `mean_difference`, the searched network being the first;
        - `mean_differences`: for each kind of twin of which there are two or more pairs, their
          mean difference. Its interval holds for these networks: how much other pairs would differ
          is not in it;
        - `comparisons`: the number of all of these.
    """
    pairs = _pairs(rows)
    kinds: dict[tuple[str, str], list[tuple[Row, Row]]] = {}  # by kind of twin, and family
    for network, reference in pairs:
        if reference["of"] == network["name"]:
            kind = reference["name"].removesuffix(f"-{network['name']}")
            kinds.setdefault((kind, reference["family"]), []).append((network, reference))
    kinds = {kind: several for kind, several in kinds.items() if len(several) > 1}
    comparisons = len(pairs) + len(kinds)
    return {
        "differences": [
            {
                "network": network["name"],
                "reference": reference["name"],
                "family": reference["family"],
                "macs_ratio": reference["macs"] / network["macs"],
            }
            | mean_difference([(network, reference)], noise, comparisons)
            for network, reference in pairs
        ],
        "mean_differences": [
            {"reference": kind, "family": family, "pairs": len(several)}
            | mean_difference(several, noise, comparisons)
            for (kind, family), several in kinds.items()
        ],
        "comparisons": comparisons,
    }


def _pairs(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The searched network that each reference is compared with, and the reference."""
    searched = [row for row in rows if row["family"] == SEARCHED]
    pairs = []
    for row in rows:
        if row["family"] == SEARCHED or not searched:
            continue
        own = [one for one in searched if one["name"] == row["of"]]
        nearest = min(searched, key=lambda one: abs(math.log(one["macs"] / row["macs"])))
        pairs.append((own[0] if own else nearest, row))
    return pairs


def mean_difference(
    pairs: Sequence[tuple[Row, Row]], noise: Noise, comparisons: int
) -> dict[str, float]:
    """How much better the first networks are than the second ones, each pair counting alike.

    Args:
        pairs: rows with `test_accuracies`.
        noise: noise of all networks.
        comparisons: for which the joint interval is adjusted (Bonferroni).

    Returns:
        - `difference`: mean difference of test accuracies, in [-1, 1];
        - `fewer_errors`: the share of the second one's errors that the first does not make,
          1 - exp(d) for the mean difference d of log errors; negative where it makes more;
        - `low`, `high`: interval of `fewer_errors`, and `joint_low`, `joint_high`: one that holds
          jointly for all comparisons.
    """
    both = [tuple(one["test_accuracies"] for one in pair) for pair in pairs]
    first, second = (
        [log_error(one, noise.images) for one in side] for side in zip(*both, strict=True)
    )
    gap = fmean(first) - fmean(second)
    variance = sum(noise.variance(one) for pair in both for one in pair) / len(pairs) ** 2
    half, joint = (noise.half_width(variance, number) for number in (1, comparisons))
    ends = {"low": half, "high": -half, "joint_low": joint, "joint_high": -joint}
    most = math.log(2 * noise.images)  # of all test images and half an image wrong

    def fewer(log_ratio: float) -> float:
        return 1 - math.exp(min(log_ratio, most))

    return {
        "difference": fmean(one["test_accuracy"] - two["test_accuracy"] for one, two in pairs),
        "fewer_errors": fewer(gap),
    } | {name: fewer(gap + end) for name, end in ends.items()}
