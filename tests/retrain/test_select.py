from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.retrain.select import select
from nas.study.front_file import load_front

ROOT = Path(__file__).parents[2]

ENTRIES = [  # arch_id, macs, accuracy, knee
    ("a" * 12, 1_000_000, 0.80, False),
    ("b" * 12, 1_900_000, 0.85, False),
    ("c" * 12, 4_000_000, 0.90, True),
    ("d" * 12, 20_000_000, 0.95, False),
]


@pytest.fixture
def front() -> Any:
    entries = [SimpleNamespace(arch_id=i, macs=m, expected=a, knee=k) for i, m, a, k in ENTRIES]
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


def test_networks_are_ranked_by_the_estimate() -> None:
    """Of three of one octave, the one that was measured highest has not the highest estimate."""
    loaded = load_front(ROOT / "results/benchmarks/earlier-run/front.json")
    entries = [
        loaded.architectures[i].model_copy(update={"accuracy": a, "estimate": e, "knee": False})
        for i, a, e in ((8, 0.80, 0.79), (9, 0.84, 0.80), (10, 0.83, 0.81))
    ]
    front = loaded.model_copy(update={"architectures": tuple(entries)})
    best = entries[2].arch_id
    for wanted in ("top:1", "under:1M", "best-per-octave"):
        chosen = [entry.arch_id for entry in select(front, wanted)]
        assert chosen[-1] == best
        assert entries[1].arch_id not in chosen


def test_a_front_without_a_knee_says_what_to_select() -> None:
    loaded = load_front(ROOT / "results/benchmarks/earlier-run/front.json")
    entries = [entry.model_copy(update={"knee": False}) for entry in loaded.architectures[:4]]
    front = loaded.model_copy(update={"architectures": tuple(entries)})
    with pytest.raises(ValueError, match=r"no knee \(4 of at least 5 networks\); .* top:1") as told:
        select(front, "knee")
    assert "\n" not in str(told.value)
    assert len(select(front, "top:1")) == 1


def test_a_long_front_is_thinned_evenly_over_cost() -> None:
    """Of 100 members, 90 of them within a doubling, 6 leave no wide gap and keep the knee."""
    macs = [1_000_000 + 11_000 * i for i in range(90)] + [2_000_000 * 2**i for i in range(1, 11)]
    entries = [
        SimpleNamespace(arch_id=f"{i:012}", macs=m, expected=0.5 + i / 1000, knee=i == 40)
        for i, m in enumerate(macs)
    ]
    front: Any = SimpleNamespace(architectures=tuple(entries))
    chosen = [entry.macs for entry in select(front, "spread:6")]
    assert len(chosen) == 6
    assert {macs[0], macs[40], macs[-1]} <= set(chosen)
    assert max(b / a for a, b in itertools.pairwise(chosen)) <= 8
