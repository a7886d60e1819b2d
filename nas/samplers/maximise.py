"""The search for the candidates of the largest acquisition value.

An enumerable space is scored as a whole. In a large one the pool is, then what is near the front
and near the best candidates of the pool, and from there hill climbing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.samplers.acquisition import PRESELECTED, EnsembleEHVI
from nas.samplers.candidates import CLIMBERS, Candidates
from nas.samplers.encoding import Code
from nas.samplers.history import History

ROUNDS = 3  # hill climbing takes at most so many rounds
BATCH_PARTS = 4  # parts of the range of cost from which a batch is chosen, for each of its trials
PRESELECTED_ENUMERABLE = 200  # as `PRESELECTED`, in an enumerable space


def best_candidates(
    acquisition: EnsembleEHVI,
    candidates: Candidates,
    history: History,
    untried: list[int],
    rng: np.random.Generator,
    count: int,
) -> list[Code]:
    """Up to `count` untried codes, each the best one beside those before it.

    Args:
        acquisition: scores codes.
        candidates: of the space.
        history: what was tried.
        untried: rows of the pool that were not tried, at least one.
        rng: draws crossovers and random codes.
        count: 1 or more.
    """
    preselected = PRESELECTED_ENUMERABLE if candidates.enumerable else PRESELECTED
    codes, values = acquisition.score_pool(untried, preselected)
    of_pool = dict(zip(codes, values.tolist(), strict=True))
    best = codes[int(values.argmax())]
    if candidates.enumerable:
        return [best] if count == 1 else acquisition.choose_batch(of_pool, count)
    top = [codes[i] for i in np.argsort(-values, kind="stable")[:CLIMBERS]]
    scores = {best: float(values.max())}
    nearby = [*candidates.near_front(acquisition.front, rng), *candidates.neighbours(top, rng)]
    _climb(acquisition, candidates, history, nearby, scores, rng)
    if count == 1:
        return [max(scores, key=lambda code: scores[code])]
    every = acquisition.score_over_costs(untried, BATCH_PARTS * count) | of_pool | scores
    distinct = {candidates.info(code).identity: code for code in every}
    return acquisition.choose_batch({code: every[code] for code in distinct.values()}, count)


def _climb(
    acquisition: EnsembleEHVI,
    candidates: Candidates,
    history: History,
    nearby: Sequence[Code],
    scores: dict[Code, float],
    rng: np.random.Generator,
) -> None:
    """Add the scores of nearby codes, then of the neighbours of the best, while they improve."""
    for _ in range(ROUNDS):
        before = max(scores.values())
        new = [
            code
            for code in nearby
            if code not in scores and candidates.info(code).identity not in history.tried
        ]
        if not new:
            break
        new, values = acquisition.score(new)
        scores.update(zip(new, values.tolist(), strict=True))
        if max(scores.values()) <= before:
            break
        climbers = sorted(scores, key=lambda code: -scores[code])[:CLIMBERS]
        nearby = candidates.neighbours(climbers, rng)
