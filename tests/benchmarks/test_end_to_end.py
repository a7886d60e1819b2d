"""The end-to-end benchmark: what counts as reached, and one tiny run of every version."""

from pathlib import Path

import pytest

from benchmarks import end_to_end
from benchmarks.end_to_end import (
    BASELINE,
    BASELINES,
    CAREFUL,
    HALVING,
    NO_STOPPING,
    OURS,
    VERSIONS,
    Task,
)

SPACE = Path(__file__).parents[2] / "search_spaces/tiny.yaml"


def row(version: str, seconds: float, *trials: tuple[float, float, float]) -> dict:
    return {
        "version": version,
        "seed": 0,
        "seconds": seconds,
        "training_seconds": None if version in BASELINES else 0.9 * seconds,
        "trials": [list(t) for t in trials],
    }


def test_time_counts_until_the_baselines_final_hypervolume_is_reached():
    # It gets no better after 90 s, so its last 10 s do not count.
    baseline = row(BASELINE, 100.0, (50, 1e4, 0.5), (90, 1e5, 0.8), (95, 1e5, 0.7))
    # The same points, found in another order and listed out of order.
    ours = row(OURS, 60.0, (20, 1e4, 0.5), (10, 1e5, 0.8), (40, 1e3, 0.6))
    careful = row(CAREFUL, 80.0, (30, 1e3, 0.6), (60, 1e4, 0.5))
    better = row(HALVING, 60.0, (10, 1e5, 0.9), (20, 1e4, 0.5))
    whole = row(NO_STOPPING, 150.0, (30, 1e3, 0.65), (50, 1e4, 0.5), (70, 1e5, 0.8))
    (summary,) = end_to_end.summarise([baseline, careful, better, ours, whole], 1e6)
    assert summary["baseline_volume"] == pytest.approx(1 * 0.4 + 1 * 0.7)
    assert (summary["baseline_reached"], summary["ours_reached_baseline"]) == (90, 20)
    assert summary["baseline_ratio"] == 4.5
    assert (summary["careful_reached"], summary["ours_reached_careful"]) == (30, 40)
    assert summary["careful_ratio"] == 0.75
    assert (summary["ours_reached_halving"], summary["halving_ratio"]) == (40, 0.5)
    assert summary["ours_volume"] > summary["baseline_volume"]
    assert summary["kept"] == pytest.approx((1 * 0.5 + 1 * 0.5 + 1 * 0.7) / (2 * 0.55 + 1 * 0.7))
    assert summary["trained"] == pytest.approx(0.4)
    assert end_to_end.summarise([baseline, careful, better, ours], 1e6) == []
    never = row(OURS, 60.0, (10, 1e5, 0.79), (20, 1e4, 0.5))
    (summary,) = end_to_end.summarise([baseline, careful, better, never, whole], 1e6)
    assert (summary["ours_reached_baseline"], summary["baseline_ratio"]) == (None, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_searches(version):
    task = Task(SPACE, 3, epochs=1, train_images=100)
    found = end_to_end.run(task, version, seed=1)
    assert (found["training_seconds"] is None) == (version in BASELINES)
    assert len(found["trials"]) >= (
        3 if version in (BASELINE, CAREFUL) else 1
    )  # ours may stop some early
    for seconds, macs, accuracy in found["trials"]:
        assert 0 < seconds <= found["seconds"] + 1
        assert 0 < macs <= end_to_end.largest(task)
        assert 0 <= accuracy <= 1
