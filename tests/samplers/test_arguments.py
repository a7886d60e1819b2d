"""Arguments that the known-cost sampler refuses."""

import re

import pytest
from small_space import CHOICES, macs, new_study, suggest

from nas.samplers import KnownCostSampler
from nas.space.space import Choice


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((), "none; accepted: at least one"),
        ((Choice("a", (1, 2)), Choice("a", (3, 4))), "a occurs twice; accepted: once"),
        ((Choice("a", (1, 1)),), "values (1, 1) of a; accepted: one or more, different"),
        ((Choice("a", ()),), "values () of a; accepted: one or more, different"),
        (
            (Choice("a", (1, 2), ("b", 3)), Choice("b", (3, 4))),
            "a needs 3 of b; accepted: a value of a choice before it",
        ),
        (
            (Choice("b", (3, 4)), Choice("a", (1, 2), ("b", 5))),
            "a needs 5 of b; accepted: a value of a choice before it",
        ),
    ],
)
def test_invalid_choices(choices, message):
    with pytest.raises(ValueError, match=re.escape(f"choices: {message}")):
        KnownCostSampler(choices, macs)


@pytest.mark.parametrize(
    ("costs", "shown"),
    [
        (lambda setting: 5.0, "5.0"),
        (lambda setting: (), "()"),
        (lambda setting: (0.0,), "(0.0,)"),
        (lambda setting: (1.0, -2.0), "(1.0, -2.0)"),
        (lambda setting: (float("nan"),), "(nan,)"),
        (lambda setting: (float("inf"),), "(inf,)"),
        (lambda setting: ("many",), "('many',)"),
    ],
)
def test_invalid_costs(costs, shown):
    choices = (Choice("a", (1, 2)),)
    study = new_study(KnownCostSampler(choices, costs))
    with pytest.raises(ValueError, match=re.escape(f"costs of {{'a': 1}}: {shown}; accepted: a")):
        suggest(study.ask(), choices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "images: 0; accepted: 1 or more, or None"),
        ({"objective": 2}, "objective: 2; accepted: 0 to 1 in this study"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        suggest(new_study(KnownCostSampler(CHOICES, macs, **options)).ask())
