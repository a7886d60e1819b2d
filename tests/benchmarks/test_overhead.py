"""The overhead benchmark: what is counted as overhead, and one small run of everything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import large_study, overhead
from benchmarks.large_study import Timing
from benchmarks.overhead_run import Ran, busy_share, seconds_per_trial
from nas.study.study import SearchStudy

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "search_spaces/tiny.yaml"


def test_the_noop_trainable_imports_no_torch():
    code = "import sys, benchmarks.noop_trainable; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_only_what_follows_the_start_of_all_actors_counts():
    first, second = 1, 2
    ran = [Ran(0, 10, first), Ran(4, 14, second), Ran(12, 22, first), Ran(15, 24, second)]
    # Both are up at 4 and end at 24: 3 trials began, and (6 + 10 + 10 + 9) of 40 s were busy.
    assert seconds_per_trial(ran, 2) == pytest.approx(20 / 3)
    assert busy_share(ran, 2) == pytest.approx(35 / 40)
    assert busy_share(ran, 1) == pytest.approx((10 + 10 + 10 + 9) / 24)


def test_bars():
    timings = [Timing("open", 9.0, 1.0, 10), Timing("export", 9.0, 1.0, None)]
    per_trial = {overhead.BARE: [0.1, 0.2, 9.0], "known-cost": [0.3, 0.4, 0.3], "random": [0.2]}
    busy = {overhead.BARE: 0.8, "known-cost": 0.7}
    short = {
        "bare_busy_share": [0.5, 0.6, 0.5], "busy_share": [0.6, 0.5, 0.5],
        "median_wait": [0.1, 0.3, 0.4], "p95_wait": [1.0, 1.0, 1.0],
    }  # fmt: skip
    figures = overhead.report(overhead.Sizes(), per_trial, busy, short, timings)
    assert figures["seconds_over_the_floor"]["known-cost"] == pytest.approx(0.1)
    assert list(figures["bars"].values()) == [True, False, True, False, True]
    assert json.loads(json.dumps(figures)) == figures


def test_the_large_study_is_one_that_a_search_reads(tmp_path):
    timings = large_study.measure(tmp_path, SPACE, 60, samplers=("random",))
    assert all(timing.seconds > 0 for timing in timings)
    assert [timing.operation for timing in timings if timing.limit] == [
        "open, with the first read of all trials",
        "ask, random",
        "tell, random",
        "export and report",
    ]
    location = large_study.folder_location(tmp_path / large_study.NAME, None, large_study.NAME)
    study, config = large_study.open_study(location)
    trials = study.get_trials()
    assert [trial.number for trial in trials[:60]] == list(range(60))
    search = SearchStudy(study, config, budget=1000)
    counted = {
        trial.user_attrs["arch_id"]
        for trial in trials
        if trial.state.name in ("COMPLETE", "PRUNED")
    }
    assert search.counted == len(counted)
    for trial in trials[:60]:
        arch = config.space.decode(trial.params)
        assert arch.arch_id == trial.user_attrs["arch_id"]
        assert (trial.values is not None) == (trial.state.name == "COMPLETE")
    for name in ("front.json", "trials.csv", "report.html"):
        assert (tmp_path / large_study.NAME / name).stat().st_size > 0


@pytest.mark.slow
def test_all_parts_run():
    sizes = overhead.Sizes(
        trials=6,
        repetitions=1,
        slots=3,
        sleeping=9,
        sleep=0.5,
        short_trials=9,
        short_sleep=0.2,
        stored=50,
    )
    steps = []
    figures = overhead.measure(SPACE, sizes, steps.append)
    assert len(steps) == overhead.steps(sizes)
    assert all(0 < share <= 1 for share in figures["busy_share"].values())
    assert all(value > 0 for values in figures["short_trials"].values() for value in values)
    assert all(seconds[0] > 0 for seconds in figures["seconds_per_trial"].values())
