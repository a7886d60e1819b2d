"""The benchmark of searches within limits of memory and flash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.baselines import OURS
from benchmarks.device_search import POOL, run_and_report, summarise


def row(sampler: str, seed: int, *front: tuple[float, float, float]) -> dict:
    return {
        "sampler": sampler,
        "seed": seed,
        "over": 3,
        "cpu_seconds": 1.0,
        "front": [list(point) for point in front],
    }


def test_scores_are_of_the_front_of_all_together() -> None:
    # Below (2, 2, 1), the pool's largest: 0.5 for the pool, 0.75 for the first, 1 together.
    rows = [
        row(POOL, 0, (1.0, 2.0, 1.0), (1.5, 1.0, 0.0), (2.0, 1.5, 0.5)),
        row(OURS, 0, (1.0, 1.25, 0.0)),
        row("tpe", 0, (1.5, 1.5, 0.5)),
        row("tpe", 1, (1.0, 1.0, 0.0)),  # no pool of that seed: it has no score
    ]
    pool, ours, tpe = summarise(rows)
    together = 0.75 + 0.5 - 0.375
    assert pool["hypervolume"] == pytest.approx(0.5 / together)
    assert ours["hypervolume"] == pytest.approx(0.75 / together)
    assert (tpe["seeds"], tpe["hypervolume"]) == (1, pytest.approx(0.125 / together))
    assert tpe["left"] == pytest.approx((1 - 0.75 / together) / (1 - 0.125 / together))
    assert ours["left"] == pytest.approx(1.0)


def test_a_search_never_suggests_a_network_over_a_limit_and_continues(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    run_and_report(["known-cost", "random"], 1, 12, path, 1)
    data = json.loads(path.read_text())
    over = {row["sampler"]: row["over"] for row in data["rows"]}
    assert over[OURS] == 0
    assert over["random"] > 0
    run_and_report(["known-cost", "random"], 1, 12, path, 1)
    assert json.loads(path.read_text()) == data


def test_unknown_samplers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--samplers best: accepted: NAME or NAME:K of known-cost"):
        run_and_report(["known-cost", "best"], 1, 12, None, 1)
