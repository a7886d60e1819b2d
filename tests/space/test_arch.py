"""Architectures: canonical form, round trips, and messages for invalid ones."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.space.arch import (
    MAX_ALPHA,
    Arch,
    StageArch,
    make_stage,
    scale_stem,
    scale_width,
    table2_arch,
)


@st.composite
def stages(draw):
    p = draw(st.integers(1, 16))
    expansion = draw(st.sampled_from(["dct", "pointwise"]))
    return StageArch(
        width=2 * p * draw(st.integers(1, 64)),
        repeats=draw(st.integers(1, 64)),
        stride=draw(st.sampled_from([1, 2])),
        expansion=expansion,
        p=p,
        hidden=draw(st.integers(1, 4096)) if expansion == "dct" else None,
    )


archs = st.builds(Arch, st.integers(1, 4096), st.lists(stages(), min_size=1, max_size=8).map(tuple))


@given(archs)
def test_round_trips_lose_nothing(arch):
    assert Arch.from_dict(arch.to_dict()) == arch
    assert Arch.from_json(arch.to_json()) == arch
    assert Arch.from_json(json.dumps(arch.to_dict(), indent=2)).arch_id == arch.arch_id


@given(archs, archs)
def test_same_id_means_same_architecture(a, b):
    assert (a.arch_id == b.arch_id) == (a == b)
    assert (hash(a) == hash(b)) or a != b


def test_id_is_stable():
    """Stored studies hold these ids."""
    assert table2_arch().arch_id == "8c3ca0cb40ae"
    assert table2_arch(0.5, 4, 2, "pointwise").arch_id == "558a40768344"


@given(
    st.sampled_from([16, 64, 256]),
    st.floats(0.1, 4),
    st.sampled_from([1, 2, 8]),
    st.integers(1, 64),
    st.one_of(st.none(), st.integers(1, 64)),
)
def test_r_has_no_part_in_a_pointwise_stage(width, alpha, p, r, other_r):
    one = make_stage(width, alpha, 3, 1, "pointwise", p, r)
    other = make_stage(width, alpha, 3, 1, "pointwise", p, other_r)
    assert one == other
    assert one.hidden is None
    assert "hidden" not in one.to_dict()


def test_settings_that_round_alike_build_one_architecture():
    # 64 * 0.26 = 16.6 and 64 * 0.25 = 16 both round to 16 channels; 16 // 16 == 16 // 12.
    assert make_stage(64, 0.26, 2, 1, "dct", 4, 16) == make_stage(64, 0.25, 2, 1, "dct", 4, 12)


@given(st.integers(1, 4096), st.floats(0.01, MAX_ALPHA), st.integers(1, 128))
def test_scaled_width_is_the_nearest_multiple(width, alpha, multiple):
    scaled = scale_width(width, alpha, multiple)
    assert scaled % multiple == 0
    assert scaled >= multiple
    if scaled > multiple:
        assert abs(scaled - width * alpha) <= multiple / 2 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("width", "alpha", "expected"), [(32, 0.1, 8), (32, 0.375, 16), (32, 0.374, 8), (32, 2, 64)]
)
def test_stem_rounds_half_up_and_never_below_eight(width, alpha, expected):
    assert scale_stem(width, alpha) == expected


def test_hidden_units_are_a_fraction_of_the_output_channels_and_at_least_one():
    assert make_stage(64, 1, 1, 1, "dct", 8, 4).hidden == 16
    assert make_stage(64, 1, 1, 1, "dct", 8, 4096).hidden == 1


def test_table_2():
    arch = table2_arch()
    assert arch.stem == 32
    assert [(s.repeats, s.width, s.stride) for s in arch.stages] == [
        (5, 64, 1),
        (6, 128, 2),
        (7, 256, 2),
    ]
    assert str(arch) == "stem 32 | 5x64 dct h16 p2 | 6x128 dct h32 p2 | 7x256 dct h64 p2"


STAGE = {"width": 8, "repeats": 1, "stride": 1, "expansion": "dct", "p": 2, "hidden": 4}
POINTWISE = {**STAGE, "expansion": "pointwise", "hidden": None}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"width": 0}, "width: 0 is out of range; accepted: 2 to 4096"),
        ({"width": 6}, "width: 6 is not a multiple of 2p; accepted: multiples of 4"),
        ({"width": 8.0}, "width: 8.0 is not an integer; accepted: 2 to 4096"),
        ({"width": 10**99}, "width: an integer of 329 bits is out of range"),
        ({"repeats": 65}, "repeats: 65 is out of range; accepted: 1 to 64"),
        ({"repeats": True}, "repeats: True is not an integer; accepted: 1 to 64"),
        ({"repeats": "3"}, "repeats: '3' is not an integer"),
        ({"stride": 3}, "stride: 3 is out of range; accepted: 1 to 2"),
        ({"stride": 1.0}, "stride: 1.0 is not an integer"),
        ({"expansion": "clone"}, "expansion: 'clone' is not known; accepted: dct, pointwise"),
        ({"expansion": ["dct"]}, "expansion: list is not known; accepted: dct, pointwise"),
        ({"expansion": "x" * 999}, "expansion: 'xxx"),
        ({"p": 0}, "p: 0 is out of range; accepted: 1 to 64"),
        ({"p": float("nan")}, "p: nan is not an integer"),
        ({"hidden": None}, "hidden: None is not an integer; accepted: 1 to 4096"),
        ({"hidden": 0}, "hidden: 0 is out of range; accepted: 1 to 4096"),
        ({**POINTWISE, "hidden": 4}, "hidden: 4 has no meaning in a pointwise stage"),
    ],
    ids=str,
)
def test_wrong_stages_are_refused_with_field_value_and_what_is_accepted(stage, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        StageArch(**{**STAGE, **stage})
    with pytest.raises(ValueError, match="^" + re.escape("stages[1]." + message)) as caught:
        Arch.from_dict({"stem": 8, "stages": [STAGE, {**STAGE, **stage}]})
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "architecture: not valid JSON (Expecting value"),
        ("{", "architecture: not valid JSON"),
        ("[" * 100_000, "architecture: not valid JSON"),
        ("9" * 5_000, "architecture: not valid JSON"),
        ("3", "architecture: 3 is not a mapping; accepted keys: stem, stages"),
        ("{}", "architecture.stem: missing; required keys: stem, stages"),
        ('{"stem": 8}', "architecture.stages: missing; required keys: stem, stages"),
        ('{"stem": 8, "stages": {}}', "stages: accepted: a list of 1 to 8 stages"),
        ('{"stem": 8, "stages": []}', "stages: accepted: a list of 1 to 8 stages"),
        ('{"stem": 8, "stages": [3]}', "stages[0]: 3 is not a mapping"),
        ('{"stem": 8, "stages": [{}]}', "stages[0].width: missing; required keys: width, "),
        ('{"stem": 8, "stages": [], "r": 2}', "architecture: unknown key 'r'"),
        (json.dumps({"stem": 0, "stages": [STAGE]}), "stem: 0 is out of range; accepted: 1"),
        (json.dumps({"stem": 8, "stages": [STAGE] * 9}), "stages: accepted: a list of 1 to 8"),
        (json.dumps({"stem": 8, "stages": [{**STAGE, "q": 1}]}), "stages[0]: unknown key 'q'"),
    ],
    ids=lambda text: text[:30],
)
def test_wrong_json_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)) as caught:
        Arch.from_json(text)
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(archs, st.data())
def test_any_value_in_any_place_is_an_architecture_or_a_value_error(arch, data):
    plain = arch.to_dict()
    target = data.draw(st.sampled_from([plain, *plain["stages"]]))
    target[data.draw(st.sampled_from([*target, "extra"]))] = data.draw(json_values)
    try:
        read = Arch.from_dict(plain)
    except ValueError:
        return
    assert Arch.from_json(read.to_json()) == read


def test_stages_must_be_stages():
    with pytest.raises(ValueError, match=r"^stages\[0\]: 1; accepted: a StageArch"):
        Arch(8, (1,))
    with pytest.raises(ValueError, match=r"^stages: accepted: a tuple of 1 to 8 stages"):
        Arch(8, [make_stage(8, 1, 1, 1, "dct", 2, 4)])


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"alpha": 0}, "alpha"),
        ({"alpha": -1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"p": 0}, "p"),
        ({"p": 2.0}, "p"),
        ({"r": 0}, "r"),
        ({"r": None}, "r"),
        ({"expansion": "none"}, "expansion"),
    ],
    ids=str,
)
def test_table_2_names_the_setting_that_is_wrong(setting, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        table2_arch(**setting)
