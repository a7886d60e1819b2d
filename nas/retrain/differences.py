"""Differences in test accuracy between searched networks and those they are compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nas.retrain.references import SEARCHED
from nas.retrain.statistics import Noise

Row = dict[str, Any]


def differences(rows: Sequence[Row], noise: Noise) -> dict[str, Any]:
    """Each difference, and the mean of those of the same kind.

    A network's own twin is compared with it, any other reference with the searched network
    whose multiply-adds are nearest, in ratio.

    Args:
        rows: `networks` of `nas.retrain.comparison.summarise`.
        noise: standard deviation of one seed's accuracy.

    Returns:
        - `differences`: accuracy of the searched network minus the reference's, with an interval
          (`low`, `high`) and one that holds jointly for all comparisons (`joint_low`,
          `joint_high`; Bonferroni's adjustment);
        - `pooled`: for each kind of twin of which there are two or more pairs, the mean
          difference, weighted by the inverse variance, with the same intervals. They hold for
          these networks: how much other pairs would differ is not in them;
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
            | _mean_difference([(network, reference)], noise, comparisons)
            for network, reference in pairs
        ],
        "pooled": [
            {"reference": kind, "family": family, "pairs": len(several)}
            | _mean_difference(several, noise, comparisons)
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


def _mean_difference(
    pairs: Sequence[tuple[Row, Row]], noise: Noise, comparisons: int
) -> dict[str, float]:
    """Of the pairs' test accuracies, weighted by the inverse variance, with its intervals."""
    weights = [1 / (1 / first["seeds"] + 1 / second["seeds"]) for first, second in pairs]
    gaps = [first["test_accuracy"] - second["test_accuracy"] for first, second in pairs]
    mean = sum(w * gap for w, gap in zip(weights, gaps, strict=True)) / sum(weights)
    half, joint = (noise.half_width(sum(weights), n) for n in (1, comparisons))
    return {
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
        "joint_low": mean - joint,
        "joint_high": mean + joint,
    }
