"""The benchmark of second searches: what counts as reached, and one tiny run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import second_search
from benchmarks.second_search import (
    KINDS,
    SecondSearches,
    compare,
    progress_of,
    second_search_rows,
    summarise,
)

SPACE = Path(__file__).parents[2] / "search_spaces/tiny.yaml"


COLD = [(10.0, 0.1), (30.0, 0.2), (45.0, 0.3), (60.0, 0.6), (80.0, 0.6), (90.0, 0.6)] + [
    (100.0, 0.6)
] * 4


def test_the_goal_is_what_the_cold_start_reached_last() -> None:
    warm = [(5.0, 0.3), (20.0, 0.4), (22.0, 0.4), (25.0, 0.7), (26.0, 0.7)]
    found = compare(COLD, warm)
    assert found["cold"] == (4, 60.0)
    assert found["source"] == (4, 25.0)
    tenth, quarter, half = found["marks"]
    assert tenth == {"source": (1, 5.0), "share": pytest.approx(0.5), "cold": (3, 45.0)}
    assert quarter == {"source": (2, 20.0), "share": pytest.approx(2 / 3), "cold": (4, 60.0)}
    assert half == {"source": (5, 26.0), "share": pytest.approx(7 / 6), "cold": None}
    assert compare(COLD, [(5.0, 0.3), (20.0, 0.59)])["source"] is None


def test_medians_know_searches_that_do_not_get_there() -> None:
    (kind, *_) = KINDS
    curves = ([(6.0, 0.6)], [(12.0, 0.6)], [(8.0, 0.1)], [(8.0, 0.5), (9.0, 0.55)])
    rows = [{"kind": kind, "seed": seed} | compare(COLD, c) for seed, c in enumerate(curves)]
    (three,) = summarise(rows[:3])
    assert (three["seeds"], three["trials"], three["seconds"]) == (3, 0.25, 0.2)
    assert three["marks"][0] == {"share": 1.0, "trials": 4.0, "seconds": 5.0}
    (four,) = summarise(rows)
    assert (four["trials"], four["seconds"]) == (None, None)
    _, *lines = second_search_rows(rows)
    assert [line[1] for line in lines] == ["0", "1", "2", "3", "median"]
    assert lines[0][-1] == "0.25 of the trials, 0.10 of the training s"
    assert lines[2][-1] == "not with as many trials"


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
    assert 1 <= row["cold"][0] <= 8
    assert row["marks"][-1]["share"] > 0
    assert searches.compare(kind, 0) == row  # read, not searched again
    made = len(progress_of(searches.run(0, KINDS[kind][1], KINDS[kind][0], 0.5)))
    assert made == (4 if row["source"] is not None and row["source"][0] <= 4 else 8)
    names = {path.parent.name for path in (tmp_path / "studies/seed-0").glob("*/study.db")}
    first, second = KINDS[kind]
    assert names == {first, second, f"{second}-from-{first}"}
