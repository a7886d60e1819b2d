"""The stopping rules that the replay compares: the project's own and two published ones.

A rule is called when a trial reaches a rung and returns whether the trial goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import moocore
import numpy as np

from nas.stopping.rule import StoppingSettings, TrialCurve, decide

ONE_EPOCH = "one epoch"
Rule = Callable[[TrialCurve, Sequence[TrialCurve]], bool]
"""Whether a trial goes on, given all the others that have reached a rung."""


def front_rule(confidence: float, epochs: int, images: int | None) -> Rule:
    """The project's rule, `nas.stopping.rule.decide`."""
    settings = StoppingSettings(confidence=confidence)

    def rule(trial: TrialCurve, others: Sequence[TrialCurve]) -> bool:
        return decide(trial, others, epochs, settings, images=images).goes_on

    return rule


def halving(kept: float, epochs: int, images: int | None) -> Rule:
    """Successive halving on accuracy alone (ASHA as in Ray's `AsyncHyperBandScheduler`).

    A trial goes on unless its accuracy is below the quantile `1 - kept` of the accuracies
    of earlier trials at the rung (Li et al., 2020).
    """

    def rule(trial: TrialCurve, others: Sequence[TrialCurve]) -> bool:
        rung = max(trial.curve)
        before = [other.curve[rung] for other in others if rung in other.curve]
        return not before or trial.curve[rung] >= float(np.quantile(before, 1 - kept))

    return rule


def sorting(kept: float, epochs: int, images: int | None) -> Rule:
    """Non-dominated sorting at each rung (MO-ASHA, Schmucker et al., arXiv 2106.12639).

    A trial goes on if it is among the best share `kept` of those at the rung, sorted by
    fronts and within its front by an epsilon-net: the next point is the one farthest from
    all before it.
    """

    def rule(trial: TrialCurve, others: Sequence[TrialCurve]) -> bool:
        rung = max(trial.curve)
        at_rung = [trial, *(other for other in others if rung in other.curve)]
        points = np.array([(np.log10(each.costs[0]), 1 - each.curve[rung]) for each in at_rung])
        return 0 in best(points, kept)

    return rule


def best(points: np.ndarray, kept: float) -> set[int]:
    """The best share `kept` of points [N, 2], at least one, by fronts, then by epsilon-nets."""
    places, chosen = max(1, int(np.ceil(kept * len(points)))), set[int]()
    fronts = moocore.pareto_rank(points)
    for rank in np.unique(fronts):
        front = np.flatnonzero(fronts == rank)
        left = places - len(chosen)
        if left < len(front):
            return chosen | set(front[_epsilon_net(points[front], left)].tolist() if left else [])
        chosen |= set(front.tolist())
    return chosen


def _epsilon_net(points: np.ndarray, places: int) -> list[int]:
    """Positions of `places` points: the first one, then repeatedly the farthest from the chosen."""
    spread = np.ptp(points, axis=0)
    scaled = points / np.where(spread > 0, spread, 1)
    chosen = [int(np.argmin(scaled[:, 0]))]
    distance = np.linalg.norm(scaled - scaled[chosen[0]], axis=1)
    while len(chosen) < places:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
    return chosen


RULES: dict[str, Callable[[float, int, int | None], Rule]] = {
    "front": front_rule,
    "halving": halving,
    "sorting": sorting,
}
STRENGTHS: dict[str, tuple[float, ...]] = {
    # of `front` a confidence, of the others the share that is kept at each rung
    "front": (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.93, StoppingSettings.confidence, 0.98),
    "halving": (0.1, 0.2, 0.33, 0.5, 0.6, 0.7, 0.8, 0.9),
    "sorting": (0.2, 0.25, 0.33, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    # no rule, but a search in two rounds: see `benchmarks.stopping.one_epoch`
    ONE_EPOCH: (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9),
}
