"""The first trials of a study: spread over cost and over the choices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.samplers.candidates import Candidates
from nas.samplers.encoding import Code

TRIES = 20  # candidates at each place, of which the one farthest from all others is taken


def spread_start(
    candidates: Candidates, free: Sequence[int], taken: Sequence[Code], seed: int
) -> int:
    """Row of the pool to try next, before there is a model.

    The smallest, the largest, then places in the order of the base-2 van der Corput
    sequence, halfway between an even spread over log cost and an even spread over the
    architectures: the first alone would train mostly the rare extremes.

    Args:
        candidates: the pool.
        free: rows that were not tried, at least one.
        taken: codes tried or running, in order.
        seed: of the draws.
    """
    costs = candidates.base_costs[:, 0]
    ordered = np.asarray(free)[np.argsort(costs[free], kind="stable")]
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
    distance = (candidates.array[tries][:, None] != others[None]).sum(axis=2).min(axis=1)
    return int(tries[int(distance.argmax())])


def _van_der_corput(index: int) -> float:
    value, denominator = 0.0, 1.0
    while index:
        denominator *= 2.0
        index, bit = divmod(index, 2)
        value += bit / denominator
    return value
