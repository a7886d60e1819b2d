"""The bound of the stopping rule has the confidence that it states.

Accuracies at a rung and at the end, and those of different networks, are of the same images. A
rule that takes them as independent samples subtracts noise that is not there.
"""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from benchmarks.recorded_coverage import coverage, own_noise, recorded_searches
from benchmarks.recorded_curves import RecordedSearch
from nas.stopping.rule import TrialCurve

LEAST, MOST = 0.01, 0.08  # of final accuracies above a bound of confidence 0.96
SEARCHES = recorded_searches()
RUNGS, EPOCHS, IMAGES = (1, 2, 4, 8), 8, 1000
COMMON = 0.87  # share of an image's difficulty that all networks have in common
REMAINS = {1: 0.05, 2: 0.1, 4: 0.3, 8: 1.0}  # of a network's own difficulties at the end


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.name)
def test_final_accuracies_of_recorded_searches(search: RecordedSearch) -> None:
    curves = [trial.curve for trial in search.trials]
    found = coverage(curves, search.epochs, search.images)
    assert [each.rung for each in found] == [1, 2, 4]
    for each in found:
        assert each.forecasts >= 60
        assert LEAST <= each.share <= MOST, each


def simulated_search(seed: int, networks: int) -> list[TrialCurve]:
    """Curves on shared images: an image is hard for all networks, and a little more for some."""
    rng = np.random.default_rng([9, seed])
    log_costs = rng.uniform(0, 3, networks)
    at_end = 1.2 + 0.25 * log_costs + 0.12 * rng.standard_normal(networks)
    latent = {EPOCHS: at_end}
    for rung, gain, spread in ((1, 0.6, 0.04), (2, 0.4, 0.03), (4, 0.2, 0.02)):
        latent[rung] = at_end - gain + spread * rng.standard_normal(networks)
    for_all = rng.standard_normal(IMAGES)
    for_one = rng.standard_normal((networks, IMAGES))
    curves: list[dict[int, float]] = [{} for _ in range(networks)]
    for rung in RUNGS:
        fresh = rng.standard_normal((networks, IMAGES))
        own = math.sqrt(REMAINS[rung]) * for_one + math.sqrt(1 - REMAINS[rung]) * fresh
        difficulty = math.sqrt(COMMON) * for_all + math.sqrt(1 - COMMON) * own
        right = difficulty > ndtri(np.exp(-latent[rung]))[:, None]
        for curve, accuracy in zip(curves, right.mean(axis=1), strict=True):
            curve[rung] = float(accuracy)
    return [
        TrialCurve((float(cost),), curve)
        for cost, curve in zip(np.exp(log_costs), curves, strict=True)
    ]


@pytest.mark.parametrize("networks", [8, 30])
def test_simulated_searches_on_shared_images(networks: int) -> None:
    above, forecasts = dict.fromkeys(RUNGS[:-1], 0), dict.fromkeys(RUNGS[:-1], 0)
    for seed in range(600 // networks):
        for each in coverage(simulated_search(seed, networks), EPOCHS, IMAGES):
            above[each.rung] += each.above
            forecasts[each.rung] += each.forecasts
    for rung in RUNGS[:-1]:
        assert forecasts[rung] > 400
        assert LEAST <= above[rung] / forecasts[rung] <= MOST


def test_most_of_the_noise_is_common_to_all_networks() -> None:
    """The figures that the rule's docstring quotes."""
    own = {search.name: own_noise(search) for search in SEARCHES if search.trials[0].right}
    assert own["digits"][EPOCHS][0] == pytest.approx(0.7, abs=0.05)
    assert own["fashion-mnist"][EPOCHS][0] == pytest.approx(0.3, abs=0.05)
    for shares in own.values():
        assert [0.0 < shares[rung][1] < 0.45 for rung in RUNGS[:-1]] == [True] * 3
        assert shares[1][1] < shares[4][1]
