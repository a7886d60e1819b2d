from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from nas.retrain.select import select

ENTRIES = [  # arch_id, macs, accuracy, knee
    ("a" * 12, 1_000_000, 0.80, False),
    ("b" * 12, 1_900_000, 0.85, False),
    ("c" * 12, 4_000_000, 0.90, True),
    ("d" * 12, 20_000_000, 0.95, False),
]


@pytest.fixture
def front() -> Any:
    entries = [SimpleNamespace(arch_id=i, macs=m, accuracy=a, knee=k) for i, m, a, k in ENTRIES]
    return SimpleNamespace(architectures=tuple(reversed(entries)))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ("all", "abcd"),
        ("knee", "c"),
        ("top:2", "cd"),
        ("top:9", "abcd"),
        ("under:20M", "d"),
        ("under:19999999", "c"),
        ("under:1M", "a"),
        ("best-per-octave", "abcd"),
        ("spread:1", "c"),
        ("spread:2", "cd"),
        ("spread:3", "acd"),
        ("spread:9", "abcd"),
        ("b" * 12, "b"),
        ("knee, top:1,knee," + "a" * 12, "acd"),
    ],
)
def test_selections_are_cheapest_first(front: Any, wanted: str, ids: str) -> None:
    assert [entry.arch_id[0] for entry in select(front, wanted)] == list(ids)


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "knee,",
        "knee,top:0",
        "top:0",
        "spread:0",
        "top:-1",
        "under:1",
        "knees",
        "../a",
        "A" * 12,
    ],
)
def test_nothing_selected_says_what_is_accepted(front: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=r"--select: .* accepted: knee, all"):
        select(front, wanted)


def test_a_long_front_is_thinned_evenly_over_cost() -> None:
    """Of 100 members, 90 of them within a doubling, 6 leave no wide gap and keep the knee."""
    macs = [1_000_000 + 11_000 * i for i in range(90)] + [2_000_000 * 2**i for i in range(1, 11)]
    entries = [
        SimpleNamespace(arch_id=f"{i:012}", macs=m, accuracy=0.5 + i / 1000, knee=i == 40)
        for i, m in enumerate(macs)
    ]
    front: Any = SimpleNamespace(architectures=tuple(entries))
    chosen = [entry.macs for entry in select(front, "spread:6")]
    assert len(chosen) == 6
    assert {macs[0], macs[40], macs[-1]} <= set(chosen)
    assert max(b / a for a, b in itertools.pairwise(chosen)) <= 8
