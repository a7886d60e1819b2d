"""The benchmark of knees on few images: what counts as below, and one tiny run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.small_knees import SmallSearches, knee_rows


def test_a_network_is_below_where_its_interval_is() -> None:
    rows = [
        {"data": "digits", "short": short, "full": 0.8, "low": 0.7, "high": 0.9, "again": again}
        for short, again in ((0.6, False), (0.85, True), (0.95, True))
    ]
    _, (data, searches, short, full, again, below) = knee_rows(rows)
    assert (data, searches, again, below) == ("digits", "3", "2", "1")
    assert short == "85.0 % (60.0 to 95.0)"
    assert full == "80.0 % (80.0 to 80.0)"


@pytest.mark.slow
def test_a_search_its_knee_and_its_short_training(tmp_path: Path) -> None:
    searches = SmallSearches(tmp_path, 5)
    row = searches.compare("digits", 0)
    classes = sorted((tmp_path / "images/digits/train").iterdir())
    assert len(classes) == 10
    assert sum(len(list(folder.iterdir())) for folder in classes) == 250
    assert 0 <= row["low"] <= row["full"] <= row["high"] <= 1
    assert 0 < row["short"] <= 1
    assert searches.compare("digits", 0) == row  # read, not made again
