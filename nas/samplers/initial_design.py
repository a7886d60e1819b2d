"""The first trials of a study: spread over cost and over the choices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.samplers.candidates import Candidates
from nas.samplers.encoding import Code

TRIES = 20  # candidates near a cost, of which the one farthest from all other trials is taken


def spread_start(
    candidates: Candidates, untried: Sequence[int], taken: Sequence[Code], seed: int
) -> int:
    """Row of the pool to try next while there is no model.

    First the cheapest candidate, then the most expensive, then costs in the order of the
    base-2 van der Corput sequence (van der Corput, "Verteilungsfunktionen", 1935). Each is
    the mean of an even spread over log cost and an even spread over the candidates: the
    first alone would mostly train the rare extremes.

    Args:
        candidates: the pool.
        untried: rows that were not tried, at least one.
        taken: codes tried or running, in order.
        seed: seeds the random draws.
    """
    costs = candidates.base_costs[:, 0]
    ordered = np.asarray(untried)[np.argsort(costs[untried], kind="stable")]
    step = len(taken)
    if step < 2:
        return int(ordered[-step])
    place = _van_der_corput(step - 1)
    by_rank = costs[ordered[int(place * (len(ordered) - 1))]]
    low, high = costs[ordered[0]], costs[ordered[-1]]
    target = 0.5 * by_rank + 0.5 * (low + place * (high - low))
    rng = np.random.default_rng([seed, 1, step])
    near = ordered[np.argsort(np.abs(costs[ordered] - target), kind="stable")]
    near = near[: max(TRIES, len(near) // 20)]
    tries = rng.choice(near, size=min(TRIES, len(near)), replace=False)
    others = candidates.encoding.array(taken)
    # Hamming distance to the nearest trial.
    distance = (candidates.array[tries][:, None] != others[None]).sum(axis=2).min(axis=1)
    return int(tries[int(distance.argmax())])


def _van_der_corput(index: int) -> float:
    value, denominator = 0.0, 1.0
    while index:
        denominator *= 2.0
        index, bit = divmod(index, 2)
        value += bit / denominator
    return value
