from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import optuna
import pytest

from nas.report.analysis import hypervolume_table, read_study, read_trials, table2_networks
from nas.report.effects import compare_expansions, importance
from nas.report.objective_scale import ObjectiveScale, extreme_cost
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.front import front
from nas.study.objectives import Objectives

SyntheticStudy = Callable[..., optuna.Study]


def test_the_table_holds_every_trial_once_with_its_setting(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    study = synthetic_study(tiny_config, 80)
    found = read_study(study, tiny_config)
    assert list(found.trials["number"]) == [trial.number for trial in study.get_trials()]
    for row in found.trials.to_dict("records"):
        setting = {c.name: row[c.name] for c in tiny_config.space.choices if row[c.name] is not None
                   and row[c.name] == row[c.name]}  # fmt: skip
        assert tiny_config.space.decode(setting) == row["arch"]
    assert set(found.front["number"]) == {
        member.trial.number for member in front(study, tiny_config)
    }
    assert found.front["macs"].is_monotonic_increasing
    assert found.front["knee"].sum() == 1


def test_repeats_and_interruptions_are_no_results(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    study = synthetic_study(tiny_config, 30, stopped=0, failed=0)
    done = study.get_trials()[0]
    for extra in ({"duplicate_of": 0}, {"reason": "interrupted"}, {"reason": "diverged"}):
        state = "COMPLETE" if "duplicate_of" in extra else "FAIL"
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                values=done.values if state == "COMPLETE" else None,
                params=done.params,
                distributions=done.distributions,
                user_attrs=done.user_attrs | extra,
            )
        )
    counts = read_study(study, tiny_config).trials["state"].value_counts().to_dict()
    assert counts == {"finished": 30, "repeat": 1, "interrupted": 1, "failed": 1}


@pytest.mark.parametrize("names", [("accuracy", "macs"), ("accuracy", "params", "macs"),
                                   ("accuracy", "latency")])  # fmt: skip
def test_hypervolume_never_falls_and_stays_on_its_scale(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, names: tuple[str, ...]
) -> None:
    config = replace(tiny_config, objectives=Objectives(names))
    table = hypervolume_table(read_study(synthetic_study(config, 60), config))
    assert table["hypervolume"].is_monotonic_increasing
    assert table["hypervolume"].between(0, 1).all()
    assert table["hypervolume"].iloc[-1] > 0


def test_ideal_and_worthless_networks_span_the_hypervolume(tiny_config: StudyConfig) -> None:
    low = extreme_cost(tiny_config, "macs", largest=False)
    high = extreme_cost(tiny_config, "macs", largest=True)
    scale = ObjectiveScale(tiny_config)

    def volume(accuracy: float, macs: float) -> float:
        return scale.tracker().add(scale.point({"accuracy": accuracy, "macs": macs}))

    assert volume(1.0, low) == pytest.approx(1)
    assert volume(0.1, low) == volume(1.0, high) == 0


def test_extreme_costs_are_those_of_the_space(tiny_config: StudyConfig) -> None:
    data = tiny_config.dataset
    costs = [
        cost(arch, data.image_size, data.in_channels, data.num_classes)
        for arch in tiny_config.space.architectures()
    ]
    for name in ("macs", "params"):
        values = [getattr(counted, name) for counted in costs]
        assert extreme_cost(tiny_config, name, largest=False) == min(values)
        assert extreme_cost(tiny_config, name, largest=True) == max(values)


def test_time_without_a_running_trial_does_not_count(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(tiny_config, 40, failed=0), tiny_config)
    before = hypervolume_table(found)["hours"].iloc[-1]
    found.trials.loc[20:, ["started", "ended"]] += datetime.timedelta(days=3)
    assert hypervolume_table(found)["hours"].iloc[-1] == pytest.approx(before)
    assert before == pytest.approx(40 * 4 / 3600)


def test_hours_are_those_that_passed_when_summer_time_ends(
    synthetic_study: SyntheticStudy,
    tiny_config: StudyConfig,
    clock_set_back: Callable[[float], datetime.datetime],
) -> None:
    trials = synthetic_study(tiny_config, 40, failed=0).get_trials()
    for index, trial in enumerate(trials):
        trial.datetime_start, trial.datetime_complete = map(
            clock_set_back, (4 * index - 80, 4 * index - 76)
        )
    hours = hypervolume_table(read_trials("night", tiny_config, trials, {}))["hours"]
    assert hours.tolist() == pytest.approx([4 * (index + 1) / 60 for index in range(40)])


def test_overlapping_trials_count_once(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(tiny_config, 40, failed=0), tiny_config)
    found.trials["started"] -= datetime.timedelta(seconds=60)
    hours = hypervolume_table(found)["hours"]
    assert hours.iloc[-1] == pytest.approx((40 * 4 + 60) / 3600)
    assert hours.is_monotonic_increasing


@pytest.fixture(scope="module")
def wide_config(tiny_config: StudyConfig) -> StudyConfig:
    return replace(tiny_config, space=SearchSpace.from_yaml("search_spaces/dyclotnet.yaml"))


def test_dct_is_found_better_where_it_is(
    synthetic_study: SyntheticStudy, wide_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(wide_config, 300), wide_config)
    differences = compare_expansions(found)
    assert {d.stage for d in differences} == {0, 1, 2, 3}
    assert all(d.lower < 0.02 < d.upper for d in differences if d.stage)  # what was put in
    assert all(d.sign == 1 for d in differences if d.stage == 0)


def test_nothing_is_claimed_where_there_is_no_difference(
    synthetic_study: SyntheticStudy, wide_config: StudyConfig
) -> None:
    claims = 0
    for seed in range(12):
        found = read_study(synthetic_study(wide_config, 150, seed=seed), wide_config)
        for stage in (1, 2, 3):  # take out what was put in
            dct = found.trials[f"stage{stage}.expansion"].eq("dct")
            found.trials["accuracy"] -= 0.02 * dct
        claims += any(d.sign for d in compare_expansions(found))
    assert claims <= 3  # 5 % of 12 are 0.6; more than 3 has a probability of 0.2 %


def test_too_few_networks_are_not_compared(
    synthetic_study: SyntheticStudy, wide_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(wide_config, 15), wide_config)
    assert compare_expansions(found) == []
    assert importance(found) is None


def test_importance_finds_what_was_put_in(
    synthetic_study: SyntheticStudy, wide_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(wide_config, 300), wide_config)
    weights = importance(found)
    assert weights is not None
    top = {choice.name for choice in weights.choices[:3]}
    assert top == {"stage1.expansion", "stage2.expansion", "stage3.expansion"}
    effects = weights.choices[0].effects
    assert effects["dct"] - effects["pointwise"] == pytest.approx(0.02, abs=0.006)
    assert 0 < weights.explained < 1


def test_importance_of_noise_is_nothing(
    synthetic_study: SyntheticStudy, wide_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(wide_config, 200), wide_config)
    found.trials["accuracy"] = np.random.default_rng(0).normal(0.8, 0.01, len(found.trials))
    weights = importance(found)
    assert weights is not None
    assert weights.explained < 0.02
    assert all(choice.share < 0.05 for choice in weights.choices)


def test_table2_networks_have_their_cost_and_accuracy_only_where_trained(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(tiny_config, 20, failed=0, stopped=0), tiny_config)
    assert table2_networks(found)["accuracy"].isna().all()
    trained = table2_networks(found)["arch_id"].iloc[1]
    found.trials.loc[0, ["arch_id", "accuracy"]] = [trained, 0.77]
    again = table2_networks(found)
    assert again["accuracy"].notna().tolist() == [False, True, False, False, False]
    assert again["accuracy"].iloc[1] == 0.77
    assert isinstance(found.trials["arch"].iloc[0], Arch)
