"""Search spaces: sizes, neighbours, encoding and decoding, against brute force."""

import itertools
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nas.space.arch import make_stage, table2_arch
from nas.space.space import SearchSpace

SPACES = Path(__file__).parents[2] / "search_spaces"
DYCLOTNET = SearchSpace.from_yaml(SPACES / "dyclotnet.yaml")
TINY = SearchSpace.from_yaml(SPACES / "tiny.yaml")


def subsets(values, most):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


@st.composite
def small_spaces(draw):
    """Narrow stages and close multipliers: many settings round to the same architecture."""
    stages = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "width": st.sampled_from([4, 8, 12, 32]),
                    "stride": st.sampled_from([1, 2]),
                    "repeats": subsets([1, 2, 5], 2),
                    "p": subsets([1, 2, 3, 4], 2),
                    "r": subsets([2, 3, 8, 16], 3),
                    "expansion": subsets(["dct", "pointwise"], 2),
                }
            ),
            min_size=1,
            max_size=2,
        )
    )
    alphas = draw(subsets([0.25, 0.3, 0.5, 0.6, 0.75, 1.0, 1.1, 2.0], 3))
    stem = draw(st.sampled_from([4, 16, 32]))
    return SearchSpace.from_dict({"stem": stem, "width_multiplier": alphas, "stages": stages})


def all_settings(space):
    """Every setting, choice by choice as a study suggests it."""
    settings = [{}]
    for choice in space.choices:
        settings = [
            extended
            for setting in settings
            for extended in (
                [{**setting, choice.name: value} for value in choice.values]
                if choice.active(setting)
                else [setting]
            )
        ]
    return settings


def one_choice_apart(a, b):
    """Settings that differ in one choice; r follows the expansion that it depends on."""
    differs = {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
    expansions = {key for key in differs if key.endswith("expansion")}
    differs -= {key.replace("expansion", "r") for key in expansions}
    return len(differs) == 1


@settings(deadline=None)
@given(small_spaces())
def test_sizes_are_those_of_brute_force(space):
    everything = all_settings(space)
    built = {space.decode(setting) for setting in everything}
    assert space.size == len(everything)
    assert space.distinct_size == len(built)
    listed = list(space.architectures())
    assert len(listed) == len(built)
    assert set(listed) == built
    assert len({arch.arch_id for arch in built}) == len(built)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(small_spaces(), st.data())
def test_neighbours_are_those_of_brute_force(space, data):
    everything = all_settings(space)
    assume(len(everything) <= 400)
    setting = data.draw(st.sampled_from(everything))
    arch = space.decode(setting)
    makers = [other for other in everything if space.decode(other) == arch]
    expected = {
        space.decode(other)
        for maker, other in itertools.product(makers, everything)
        if one_choice_apart(maker, other)
    } - {arch}
    found = space.neighbours(arch)
    assert len(set(found)) == len(found)
    assert set(found) == expected
    for neighbour in found:
        assert arch in space.neighbours(neighbour)


@settings(deadline=None)
@given(small_spaces(), st.integers(0, 2**32))
def test_coding_round_trips(space, seed):
    rng = random.Random(seed)
    arch = space.sample(rng)
    setting = space.encode(arch)
    assert space.decode(setting) == arch
    # Exactly the choices that have an effect are in it, each with a value of the space.
    active = {choice.name: choice for choice in space.choices if choice.active(setting)}
    assert setting.keys() == active.keys()
    assert all(setting[name] in choice.values for name, choice in active.items())
    assert space.decode(space.sample_setting(rng)) in set(space.architectures())


@given(st.integers(0, 2**32))
def test_choices_without_effect_are_ignored(seed):
    rng = random.Random(seed)
    setting = DYCLOTNET.sample_setting(rng)
    everything = {choice.name: rng.choice(choice.values) for choice in DYCLOTNET.choices}
    assert DYCLOTNET.decode({**everything, **setting}) == DYCLOTNET.decode(setting)


@settings(deadline=None)
@given(small_spaces())
def test_spaces_survive_their_plain_form(space):
    again = SearchSpace.from_dict(space.to_dict())
    assert again.to_dict() == space.to_dict()
    assert again.choices == space.choices


def test_the_default_space():
    assert DYCLOTNET.size == DYCLOTNET.distinct_size == 10_368_000
    for alpha in (0.5, 1.0, 2.0):
        for p, r in itertools.product((2, 4, 8), (2, 4, 8, 16)):
            DYCLOTNET.encode(table2_arch(alpha, p, r))
        DYCLOTNET.encode(table2_arch(alpha, 4, expansion="pointwise"))
    for other in (table2_arch(1.25), TINY.sample(random.Random(0))):
        with pytest.raises(ValueError, match="is not in the space dyclotnet"):
            DYCLOTNET.encode(other)


def test_the_tiny_space_counts_what_it_lists():
    assert TINY.distinct_size == sum(1 for _ in TINY.architectures())
    assert TINY.distinct_size <= TINY.size


def test_sampling_reaches_every_value_evenly():
    rng = random.Random(0)
    drawn = Counter(DYCLOTNET.sample_setting(rng)["stage2.repeats"] for _ in range(4000))
    assert set(drawn) == set(range(1, 9))
    assert max(drawn.values()) < 1.3 * min(drawn.values())


def test_the_same_seed_samples_the_same():
    one, other = random.Random(5), random.Random(5)
    assert [DYCLOTNET.sample(one) for _ in range(20)] == [
        DYCLOTNET.sample(other) for _ in range(20)
    ]


def test_number_of_neighbours_in_the_default_space():
    for seed in range(20):
        arch = DYCLOTNET.sample(random.Random(seed))
        # 5 other alphas; in each stage 7 other repeats, 2 other p, and 4 other units: a
        # pointwise stage may become DCT with 4 r, a DCT stage pointwise or take 3 other r.
        assert len(DYCLOTNET.neighbours(arch)) == 5 + 3 * (7 + 2 + 4)


def test_single_values_stand_for_lists():
    data = {
        "stem": 8,
        "width_multiplier": 1,
        "stages": [{"width": 8, "stride": 1, "repeats": 2, "p": 2, "r": 4, "expansion": "dct"}],
    }
    space = SearchSpace.from_dict(data)
    assert space.size == 1
    assert [arch.stages for arch in space.architectures()] == [
        (make_stage(8, 1, 2, 1, "dct", 2, 4),)
    ]


def test_architectures_of_another_space_are_refused():
    arch = table2_arch(1.25)
    for question in (DYCLOTNET.encode, DYCLOTNET.neighbours):
        with pytest.raises(
            ValueError, match=r"^architecture [0-9a-f]{12} is not in the space dyclotnet"
        ):
            question(arch)


SETTING = DYCLOTNET.encode(table2_arch())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 3}, "alpha: 3 is not in the space; accepted: [0.25, 0.5, 0.75, 1.0, 1.5, 2.0]"),
        ({"stage1.p": "2"}, "stage1.p: '2' is not in the space; accepted: [2, 4, 8]"),
        ({"stage2.expansion": None}, "stage2.expansion: None is not in the space"),
        ({"stage3.r": 3}, "stage3.r: 3 is not in the space; accepted: [2, 4, 8, 16]"),
        ({"stage3.repeats": [1]}, "stage3.repeats: [1] is not in the space"),
    ],
    ids=str,
)
def test_settings_outside_the_space_are_refused(change, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        DYCLOTNET.decode({**SETTING, **change})


@pytest.mark.parametrize("name", SETTING)
def test_missing_choices_are_named(name):
    setting = {key: value for key, value in SETTING.items() if key != name}
    with pytest.raises(ValueError, match=rf"^{re.escape(name)}: missing; accepted: \["):
        DYCLOTNET.decode(setting)


@pytest.mark.parametrize("value", [2.0, True, np.int64(2), np.array(2), [2]])
def test_only_an_int_is_a_number_of_a_stage(value: object) -> None:
    setting = DYCLOTNET.sample_setting(random.Random(0))
    with pytest.raises(ValueError, match="accepted: "):
        DYCLOTNET.decode(setting | {"stage1.p": value})
