"""The schedule benchmark: its correlations, its spread, and that it can be continued."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from benchmarks import schedule
from benchmarks.rows import RowFile
from benchmarks.schedule import LONG, SHORT_SEED
from nas.data import load_search_data
from nas.space.cost import cost
from nas.training import get_recipe

NOWHERE = Path("unused")


@pytest.fixture(scope="module")
def digits():
    return load_search_data("digits", NOWHERE)


def test_partial_correlation_is_that_of_the_residuals():
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(3, 40)) + rng.normal(size=40)
    ranks = [rankdata(values) for values in (x, y, z)]
    left = [values - np.polyval(np.polyfit(ranks[2], values, 1), ranks[2]) for values in ranks[:2]]
    expected = np.corrcoef(left)[0, 1]
    rho = schedule.rank_correlations(np.stack([x, y, z]))
    assert schedule.partial(rho, 0, 1, 2) == pytest.approx(expected)
    assert rho[0, 1] == pytest.approx(spearmanr(x, y).statistic)
    assert math.isnan(schedule.partial(schedule.rank_correlations(np.stack([y**0, y, z])), 0, 1, 2))


def synthetic(short_knows: float, count: int = 60) -> list[dict]:
    """Accuracy is cost plus what the long schedule sees of quality; short sees a share."""
    rng = np.random.default_rng(1)
    rows = []
    for index in range(count):
        macs, quality = 10 ** rng.uniform(5, 7), rng.normal()
        for name, seed, knows in (
            (LONG, 0, 1.0),
            (LONG, 1, 1.0),
            ("short", SHORT_SEED, short_knows),
        ):
            accuracy = math.log10(macs) + 0.3 * (knows * quality + 0.3 * rng.normal())
            pixels = 10_000 if name == LONG else 2_000
            rows.append(
                {"dataset": "d", "arch_id": str(index), "schedule": name, "seed": seed}
                | {"macs": macs, "accuracy": accuracy, "pixels": pixels}
            )
    return rows


def test_cost_alone_makes_spearman_high_and_the_partial_one_low():
    blind, knowing = (schedule.summarise(synthetic(share))[0] for share in (0.0, 1.0))
    assert blind["spearman"] > 0.8
    assert abs(blind["partial"]) < 0.3
    assert knowing["partial"] > 0.8
    assert knowing["ratio"] == pytest.approx(1, abs=0.15)
    assert knowing["cost_ratio"] == pytest.approx(5)
    for summary in (blind, knowing):
        low, high = summary["partial_interval"]
        assert low < summary["partial"] < high
    assert knowing["ratio_interval"][0] > blind["ratio_interval"][1]


def test_architectures_that_miss_a_row_do_not_count():
    rows = synthetic(1.0, count=8)
    assert schedule.summarise(rows)[0]["architectures"] == 8
    assert schedule.summarise(rows[:-1])[0]["architectures"] == 7
    assert schedule.summarise(rows[:9]) == []


def test_architectures_are_spread_over_cost_and_choices(tiny_space, digits):
    chosen = schedule.spread(tiny_space, digits, 12)
    assert len(set(chosen)) == 12
    assert chosen == schedule.spread(tiny_space, digits, 12)
    macs = [cost(arch, 8, 1, 10).macs for arch in tiny_space.architectures()]
    logs = np.log([cost(arch, 8, 1, 10).macs for arch in chosen])
    assert np.ptp(logs) > 0.8 * np.ptp(np.log(macs))
    assert {stage.expansion for arch in chosen for stage in arch.stages} == {"dct", "pointwise"}


def test_an_interrupted_measurement_goes_on(tiny_space, digits, tmp_path):
    quick = get_recipe("short-cpu", epochs=1, train_images=64, val_images=50)
    schedules = {LONG: quick.model_copy(update={"epochs": 2}), "short": quick}
    work = schedule.jobs(tiny_space, digits, schedules, 5)
    assert len(work) == len({job.key for job in work}) == 15
    path, setting = tmp_path / "rows.json", {"architectures": 5}

    def interrupted(steps, total, there):
        for done, step in enumerate(steps, 1):
            yield step
            if done == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        schedule.measure(work, RowFile(path, setting, schedule.KEY), NOWHERE, 1, interrupted)
    before = json.loads(path.read_text())["rows"]
    assert len(before) == 4

    trained = []
    file = RowFile(path, setting, schedule.KEY)
    schedule.measure(
        work, file, NOWHERE, 1, lambda steps, total, there: trained.append((total, there)) or steps
    )
    after = json.loads(path.read_text())["rows"]
    assert trained == [(15, 4)]
    assert after[:4] == before
    assert {tuple(row[name] for name in schedule.KEY) for row in after} == {j.key for j in work}
    summary = schedule.summarise(file)[0]
    assert summary["architectures"] == 5
    assert summary["cost_ratio"] == 2

    with pytest.raises(ValueError, match="another architectures"):
        RowFile(path, {"architectures": 6}, schedule.KEY)
    path.write_text("{")
    with pytest.raises(ValueError, match="--json"):
        RowFile(path, setting, schedule.KEY)
