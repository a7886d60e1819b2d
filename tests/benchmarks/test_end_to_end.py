"""The end-to-end benchmark: what counts as reached, and one tiny run of every version."""

from pathlib import Path

import pytest

from nas.benchmarks import end_to_end
from nas.benchmarks.end_to_end import COLD, USER, WARM, Task

SPACE = Path(__file__).parents[2] / "search_spaces/tiny.yaml"


def row(version: str, seconds: float, *trials: tuple[float, float, float]) -> dict:
    return {"version": version, "seed": 0, "seconds": seconds, "trials": [list(t) for t in trials]}


def test_time_counts_until_the_users_final_hypervolume_is_reached():
    users = row(USER, 100.0, (50, 1e4, 0.5), (90, 1e5, 0.8))
    # The same points, found in another order and listed out of order.
    ours = row(WARM, 60.0, (20, 1e4, 0.5), (10, 1e5, 0.8), (40, 1e3, 0.6))
    never = row(COLD, 60.0, (10, 1e5, 0.79), (20, 1e4, 0.5))
    (summary,) = end_to_end.summarise([users, ours, never], 1e6)
    assert summary["volume"] == pytest.approx(1 * 0.4 + 1 * 0.7)
    assert (summary["warm_reached"], summary["warm_faster"]) == (20, 5.0)
    assert (summary["cold_reached"], summary["cold_faster"]) == (None, 0.0)
    assert summary["warm_volume"] > summary["volume"] > summary["cold_volume"]
    assert end_to_end.summarise([users, ours], 1e6) == []


@pytest.mark.slow
@pytest.mark.parametrize("version", [USER, COLD, WARM])
def test_every_version_searches(version):
    found = end_to_end.run(Task(SPACE, 3, epochs=1, train_images=100), version, seed=1)
    assert len(found["trials"]) >= (3 if version == USER else 1)  # ours may stop some early
    for seconds, macs, accuracy in found["trials"]:
        assert 0 < seconds <= found["seconds"] + 1
        assert 0 < macs <= end_to_end.largest(SPACE)
        assert 0 <= accuracy <= 1
