"""The known-cost sampler on a space that is too large to enumerate."""

import numpy as np
import pytest
from small_space import CHOICES, key, new_study, search, suggest

from benchmarks.synthetic import SyntheticProblem
from nas.pareto import hypervolume
from nas.samplers import KnownCostSampler, SpaceExhausted
from nas.samplers.candidates import BINS, POOL, Candidates
from nas.samplers.encoding import Encoding
from nas.space.cost import cost
from nas.space.limits import extreme
from nas.space.space import Choice


def test_after_a_pool_is_used_up_nothing_is_repeated(monkeypatch):
    monkeypatch.setattr("nas.samplers.candidates.ENUMERABLE", 10)
    monkeypatch.setattr("nas.samplers.candidates.POOL", 20)
    monkeypatch.setattr("nas.samplers.known_cost.START", 50)  # all are of the pool
    choices = tuple(Choice(name, (1, 2, 3, 4)) for name in "abc")

    def total(setting):
        return (float(sum(setting.values())),)

    sampler = KnownCostSampler(choices, total, seed=2)
    settings = search(sampler, 50, choices, value=lambda setting: 0.5, cost=total)
    assert len({key(setting) for setting in settings}) == 50


@pytest.mark.slow
def test_the_full_space_beats_a_large_random_pool(full_space):
    """Smaller errors than the best of 5,000 random ones at their cost, after 60 trials."""
    problem = SyntheticProblem(0, full_space)
    sampler = KnownCostSampler(problem.choices, lambda s: (problem.macs(s),), identity=problem.key)
    study = new_study(sampler)
    points = []
    for _ in range(60):
        trial = study.ask()
        setting = suggest(trial, problem.choices)
        points.append((np.log10(problem.macs(setting)), problem.error(setting)))
        study.tell(trial, [1 - problem.error(setting), problem.macs(setting)])
    rng = np.random.default_rng(0)
    pool = [problem._sample(rng) for _ in range(5000)]
    brute = [(np.log10(problem._cost(a).macs), problem._error(a)) for a in pool]
    assert hypervolume(points, problem.reference) > hypervolume(brute, problem.reference)


def test_samples_keep_the_conditions_of_the_space_and_reach_all_of_it():
    encoding = Encoding(CHOICES)
    assert set(encoding.samples(5_000, np.random.default_rng(0))) == set(encoding.all())


def test_neighbours_have_each_value_of_a_choice_that_they_switch_on():
    encoding = Encoding(CHOICES)
    pointwise = encoding.encode({"width": 3, "kind": "pointwise", "depth": 2})
    found = [encoding.decode(c) for c in encoding.neighbours(pointwise, np.random.default_rng(0))]
    assert sorted(setting["r"] for setting in found if setting["kind"] == "dct") == [2, 4, 8]
    assert len({key(setting) for setting in found}) == len(found) == 4 + 3 + 3


@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_of_a_large_space_is_tried_first(full_space, seed):
    def counted(setting):
        return cost(full_space.decode(setting), 8, 1, 10)

    sampler = KnownCostSampler(full_space.choices, lambda s: (float(counted(s).macs),), seed=seed)
    setting = suggest(new_study(sampler).ask(), full_space.choices)
    least = cost(extreme(full_space, 8, 1, 10, lambda c: c.macs), 8, 1, 10)
    assert counted(setting).macs == least.macs


def test_the_pool_of_a_large_space_is_spread_over_the_whole_range_of_cost(full_space):
    """Of random architectures, fewer than 1 % are in the lowest seventh of the range."""

    def macs(setting):
        return (float(cost(full_space.decode(setting), 8, 1, 10).macs),)

    pool = Candidates(
        Encoding(full_space.choices),
        macs,
        feasible=None,
        identity=full_space.decode,
        seed=[0],
    )
    counts, _ = np.histogram(pool.base_costs[:, 0], bins=BINS)
    assert counts.min() >= 0.4 * POOL / BINS
    settings = [pool.encoding.decode(code) for code in pool.codes]
    assert len({full_space.decode(setting) for setting in settings}) == len(settings)


def test_a_large_space_without_a_feasible_setting_is_exhausted(full_space):
    sampler = KnownCostSampler(
        full_space.choices,
        lambda setting: (float(cost(full_space.decode(setting), 8, 1, 10).macs),),
        feasible=lambda setting: False,
    )
    with pytest.raises(SpaceExhausted):
        suggest(new_study(sampler).ask(), full_space.choices)


def test_a_large_space_under_a_tight_limit_is_searched(full_space):
    def costs(setting):
        return (float(cost(full_space.decode(setting), 32, 3, 10).macs),)

    least = {c.name: c.values[0] for c in full_space.choices} | {
        f"stage{i}.{name}": value for i in (1, 2, 3) for name, value in (("p", 8), ("r", 16))
    }
    smallest = costs(least)[0]
    sampler = KnownCostSampler(
        full_space.choices,
        costs,
        feasible=lambda setting: costs(setting)[0] <= smallest * 1.2,
        identity=full_space.decode,
    )
    settings = search(
        sampler, 12, full_space.choices, lambda s: 0.5 + 0.01 * s["stage1.repeats"], costs
    )
    assert all(costs(setting)[0] <= smallest * 1.2 for setting in settings)
    assert costs(settings[0])[0] == smallest
