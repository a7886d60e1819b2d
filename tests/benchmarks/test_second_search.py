"""The benchmark of second searches: what counts as reached, and one tiny run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import second_search
from benchmarks.second_search import KINDS, SecondSearches, compare, progress_of, summarise

SPACE = Path(__file__).parents[2] / "search_spaces/tiny.yaml"


def test_the_goal_is_what_the_cold_start_reached_last() -> None:
    cold = [(10.0, 0.2), (30.0, 0.5), (45.0, 0.6), (60.0, 0.6)]
    assert compare(cold, [(5.0, 0.3), (20.0, 0.7)]) == {
        "share": pytest.approx(0.7 / 0.6),
        "cold_trials": 3,
        "cold_seconds": 45.0,
        "source_trials": 2,
        "source_seconds": 20.0,
    }
    never = compare(cold, [(5.0, 0.3), (20.0, 0.59)])
    assert (never["source_trials"], never["source_seconds"]) == (None, None)


def test_medians_know_searches_that_do_not_get_there() -> None:
    (kind, *_) = KINDS
    cold = [(10.0, 0.2), (40.0, 0.6)]
    curves = ([(4.0, 0.6)], [(8.0, 0.6)], [(8.0, 0.1)], [(8.0, 0.5), (9.0, 0.55)])
    rows = [{"kind": kind, "seed": seed} | compare(cold, c) for seed, c in enumerate(curves)]
    (three,) = summarise(rows[:3])
    assert (three["seeds"], three["trials"], three["seconds"]) == (3, 0.5, 0.2)
    (four,) = summarise(rows)
    assert (four["trials"], four["seconds"]) == (None, None)
    assert four["hypervolume"] == pytest.approx((0.5 / 0.6 + 1) / 2)


@pytest.mark.slow
def test_a_second_search_and_its_cold_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("--epochs", "1", "--train-images", "200", "--dataset", "digits")
    monkeypatch.setattr(second_search, "SEARCHES", dict.fromkeys(second_search.SEARCHES, few))
    searches = SecondSearches(tmp_path / "studies", 8, SPACE)
    (kind, *_) = KINDS
    row = searches.compare(kind, 0)
    assert (row["kind"], row["seed"]) == (kind, 0)
    assert 1 <= row["cold_trials"] <= 8
    assert row["share"] > 0
    assert searches.compare(kind, 0) == row  # read, not searched again
    trials = row["source_trials"]
    made = len(progress_of(searches.run(0, KINDS[kind][1], KINDS[kind][0], 0.5)))
    assert made == (4 if trials is not None and trials <= 4 else 8)
    names = {path.parent.name for path in (tmp_path / "studies/seed-0").glob("*/study.db")}
    first, second = KINDS[kind]
    assert names == {first, second, f"{second}-from-{first}"}
