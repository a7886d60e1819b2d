"""Estimates of the trials of a study, and the front that follows from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import scipy.stats

from nas.pareto import non_dominated
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.estimate import estimate_trials, make_estimates
from nas.study.front import LIKELY, front, front_of_trials, measured_front
from nas.study.front_file import front_file, load_front, write_front, write_trials
from nas.study.objectives import Objectives

SyntheticStudy = Callable[..., optuna.Study]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tiny_config: StudyConfig) -> StudyConfig:
    return replace(tiny_config, space=SearchSpace.from_yaml(ROOT / "search_spaces/dyclotnet.yaml"))


@pytest.mark.parametrize(
    "names", ["accuracy,macs", "accuracy,params", "accuracy,latency", "macs,latency,accuracy"]
)
def test_every_finished_trial_has_an_estimate(
    synthetic_study: SyntheticStudy, config: StudyConfig, names: str
) -> None:
    config = replace(config, objectives=Objectives.parse(names))
    trials = synthetic_study(config, 60).get_trials()
    found = estimate_trials(trials, config, 300)
    assert found.keys() == {trial.number for trial in trials if trial.state.name == "COMPLETE"}
    for one in found.values():
        assert one.modelled
        assert one.interval is not None
        assert 0 <= one.interval[0] < one.accuracy < one.interval[1] <= 1
    shares = [one.on_front for one in found.values() if one.on_front is not None]
    assert 1 <= sum(shares) < len(found)
    assert found == estimate_trials(trials, config, 300)


def test_the_cheapest_is_always_on_the_front(
    synthetic_study: SyntheticStudy, config: StudyConfig
) -> None:
    trials = synthetic_study(config, 40, stopped=0, failed=0).get_trials()
    cheapest = min(trials, key=lambda trial: trial.values[1])
    assert estimate_trials(trials, config, 300)[cheapest.number].on_front == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_trials_keep_their_measurements(
    synthetic_study: SyntheticStudy, config: StudyConfig, count: int
) -> None:
    trials = synthetic_study(config, count, stopped=0, failed=0).get_trials()
    for images in (300, None):
        for number, one in estimate_trials(trials, config, images).items():
            assert not one.modelled
            assert one.accuracy == trials[number].user_attrs["accuracy"]
            assert (one.interval is None) == (one.on_front is None) == (images is None)
            if one.interval is not None:
                right = one.accuracy * 300
                jeffreys = scipy.stats.beta(right + 0.5, 300 - right + 0.5).ppf([0.025, 0.975])
                assert one.interval == pytest.approx(tuple(jeffreys), abs=0.01)


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_an_interval_ends_where_no_image_or_every_image_is_right(accuracy: float) -> None:
    (one,) = make_estimates(np.array([accuracy]), np.array([[1.0]]), None, 50)
    assert one.interval is not None
    assert accuracy in one.interval
    assert one.interval[1] - one.interval[0] > 0.03


def test_probabilities_are_the_shares_of_samples_without_a_better_trial() -> None:
    rng = np.random.default_rng(0)
    errors, costs = rng.uniform(size=(200, 12)), rng.integers(1, 4, size=(12, 2)).astype(float)
    found = make_estimates(1 - errors.mean(0), costs, errors, None)
    for i, one in enumerate(found):
        better = (costs <= costs[i]).all(1)
        better[i] = False
        dominated = (errors[:, better] < errors[:, [i]]).any(1)
        assert one.on_front == pytest.approx(1 - dominated.mean(), abs=1e-4)


def test_stopped_trials_and_repeats_have_none(
    synthetic_study: SyntheticStudy, config: StudyConfig
) -> None:
    study = synthetic_study(config, 30, stopped=0.4)
    done = next(trial for trial in study.get_trials() if trial.state.name == "COMPLETE")
    before = estimate_trials(study.get_trials(), config, 300)
    study.add_trial(
        optuna.trial.create_trial(
            values=done.values, params=done.params, distributions=done.distributions,
            user_attrs=done.user_attrs | {"duplicate_of": done.number},
        )
    )  # fmt: skip
    assert estimate_trials(study.get_trials(), config, 300) == before


def test_the_front_holds_what_is_likely_on_it_though_its_measurement_is_dominated(
    synthetic_study: SyntheticStudy, config: StudyConfig
) -> None:
    added = 0
    for seed in range(3):
        trials = synthetic_study(config, 60, seed=seed, stopped=0, failed=0).get_trials()
        rng = np.random.default_rng(seed)
        for trial in trials:
            measured = rng.binomial(300, trial.values[0]) / 300
            trial.values = [measured, trial.values[1]]
            trial.user_attrs["accuracy"] = measured
        members, estimates = front_of_trials(trials, config, 300)
        as_measured = measured_front(trials, config.objectives)
        first = {member.trial.number for member in as_measured}
        likely = {number for number, one in estimates.items() if (one.on_front or 0) >= LIKELY}
        assert {member.trial.number for member in members} == first | likely
        assert sum(member.knee for member in members) == 1
        added += len(likely - first)
    assert added > 0


def test_files_hold_the_estimates(
    synthetic_study: SyntheticStudy, config: StudyConfig, tmp_path: Path
) -> None:
    study = synthetic_study(config, 40)
    study.set_user_attr("val_images", 300)
    members, estimates = front_of_trials(study.get_trials(), config, 300)
    assert front(study, config) == members
    write_front(tmp_path / "front.json", front_file("s", config, members))
    loaded = load_front(tmp_path / "front.json")
    assert (loaded.schema_version, loaded.estimated_from) == (2, "all trials")
    for entry, member in zip(loaded.architectures, members, strict=True):
        assert member.estimate is not None
        assert entry.accuracy == member.attributes["accuracy"]
        assert (entry.expected, entry.interval, entry.on_front) == (
            member.estimate.accuracy, member.estimate.interval, member.estimate.on_front,
        )  # fmt: skip
    write_trials(tmp_path / "trials.csv", study, estimates)
    table = pd.read_csv(tmp_path / "trials.csv", index_col="trial")
    for number, row in table.iterrows():
        if number in estimates:
            one = estimates[number]
            told = (row["estimate"], (row["interval_low"], row["interval_high"]), row["on_front"])
            assert told == (one.accuracy, one.interval, one.on_front)
        else:
            assert row[["estimate", "interval_low", "interval_high", "on_front"]].isna().all()


def test_files_of_version_1_are_loaded() -> None:
    path = ROOT / "results/benchmarks/earlier-run/front.json"
    assert json.loads(path.read_text())["schema_version"] == 1
    front = load_front(path)
    assert front.estimated_from is None
    assert all(entry.expected == entry.accuracy for entry in front.architectures)
    points = [(entry.macs, -entry.expected) for entry in front.architectures]
    assert non_dominated(points).all()
