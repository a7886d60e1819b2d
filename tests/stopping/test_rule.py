"""The rule that stops trials early: what it must never do, and what it must do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.stopping.neg_log_error import neg_log_error
from nas.stopping.rule import DEFAULT_SETTINGS, StoppingSettings, TrialCurve, decide, rungs

EPOCHS, RUNG = 10, 2


def trial(macs: float, early: float, final: float | None = None) -> TrialCurve:
    """A trial that was evaluated once before the rung."""
    end = {} if final is None else {EPOCHS: final}
    return TrialCurve((macs,), {1: 0.1, RUNG: early, **end})


def finished(n: int = 20, spread: float = 0.01, seed: int = 0) -> list[TrialCurve]:
    """Trials whose error falls with the cost, and by half between the rung and the end."""
    rng = np.random.default_rng(seed)
    curves = []
    for macs in np.geomspace(1e6, 3e7, n):
        early = 0.5 * (1e6 / macs) ** 0.4 * math.exp(0.1 * rng.standard_normal())
        final = early / 2 * math.exp(spread * rng.standard_normal())
        curves.append(trial(macs, 1 - early, 1 - final))
    return curves


@given(st.integers(1, 400))
def test_rungs_ascend_to_the_last_epoch_and_are_few(epochs: int) -> None:
    found = rungs(epochs)
    assert found[-1] == epochs
    assert found[0] == 1
    assert list(found) == sorted(set(found))
    assert len(found) <= 2 + math.log2(epochs)


def test_rungs_of_real_schedules() -> None:
    assert rungs(10) == (1, 2, 5, 10)
    assert rungs(90) == (1, 3, 6, 11, 22, 45, 90)
    with pytest.raises(ValueError, match="accepted: 1 or more"):
        rungs(0)


def test_a_trial_that_is_hopeless_is_stopped_and_one_that_leads_goes_on() -> None:
    others = finished()
    same_cost = others[10]
    early = 1 - same_cost.curve[RUNG]
    hopeless = decide(trial(same_cost.costs[0], 1 - 2 * early), others, EPOCHS)
    assert not hopeless.goes_on
    assert hopeless.at_best is not None
    assert hopeless.to_beat is not None
    assert hopeless.at_best < hopeless.to_beat
    assert decide(trial(same_cost.costs[0], 1 - early / 2), others, EPOCHS).goes_on


def test_final_accuracies_stay_below_the_bound_with_the_confidence() -> None:
    """The share of final accuracies above the bound is 1 - confidence."""
    over = total = 0
    for seed in range(150):
        shown = finished(30, spread=0.2, seed=seed)
        last = shown.pop(20)
        decision = decide(
            trial(last.costs[0], last.curve[RUNG]), shown, EPOCHS, StoppingSettings(confidence=0.8)
        )
        assert decision.at_best is not None
        over += last.curve[EPOCHS] > decision.at_best
        total += 1
    assert 0.12 < over / total < 0.28  # 0.2, give or take two and a half standard errors


def test_the_confidence_is_lower_at_a_first_evaluation() -> None:
    """Confidence 0.96, odds of 24 to 1, becomes odds of 24 to 5."""
    others = finished(spread=0.2)
    costs = others[10].costs
    went_on = {"first": 0, "later": 0}
    for early in np.linspace(0.5, 0.95, 100):
        first = decide(TrialCurve(costs, {RUNG: early}), others, EPOCHS)
        later = decide(trial(costs[0], early), others, EPOCHS)
        assert later.goes_on or not first.goes_on
        same = decide(trial(costs[0], early), others, EPOCHS, StoppingSettings(confidence=24 / 29))
        assert first.at_best == pytest.approx(same.at_best)
        went_on["first"] += first.goes_on
        went_on["later"] += later.goes_on
    assert 0 < went_on["first"] < went_on["later"]


@pytest.mark.parametrize("early", [0.0, 0.1, 0.5])
def test_alone_in_its_range_of_cost_it_goes_on(early: float) -> None:
    others = finished()
    assert decide(trial(2.01 * 3e7, early), others, EPOCHS).goes_on
    assert not decide(trial(1.9 * 3e7, early), others, EPOCHS).goes_on
    assert decide(trial(0.99e6, early), others, EPOCHS).goes_on  # no finished trial is as cheap


def test_a_trial_of_similar_cost_counts_once_it_has_reached_the_rung() -> None:
    far = finished()
    near = TrialCurve((6e7,), {1: 0.9})
    assert decide(trial(7e7, 0.1), [*far, near], EPOCHS).goes_on
    there = TrialCurve((6e7,), {1: 0.9, RUNG: 0.9})
    assert not decide(trial(7e7, 0.1), [*far, there], EPOCHS).goes_on


def test_no_trial_is_stopped_before_min_finished_have_finished() -> None:
    others = finished(DEFAULT_SETTINGS.min_finished)
    bad = trial(others[-1].costs[0], 0.01)
    assert decide(bad, others[:-1], EPOCHS).goes_on
    assert decide(bad, [], EPOCHS).goes_on


def test_only_trials_of_the_same_or_lower_cost_are_to_beat() -> None:
    others = finished()
    late = [shown for shown in others if shown.costs[0] > 1e7]
    early = [shown for shown in others if shown.costs[0] <= 1e7]
    decision = decide(trial(1e7, 0.3), others, EPOCHS)
    assert decision.to_beat == max(shown.curve[EPOCHS] for shown in early)
    assert decision.to_beat < max(shown.curve[EPOCHS] for shown in late)


def test_the_gain_that_a_trial_must_promise_grows_with_its_cost() -> None:
    """Errors are halved from the rung on: the trial would end at 0.098, the best is 0.1."""

    def halving(cost: float, error: float) -> TrialCurve:
        return TrialCurve((cost,), {RUNG: 1 - 2 * error, EPOCHS: 1 - error})

    def goes_on(cheapest: float) -> bool:
        others = [halving(cost, 0.1) for cost in np.geomspace(2 * cheapest, 1000, 12)]
        early = TrialCurve((100.0,), {RUNG: 1 - 2 * 0.098})
        return decide(early, [halving(cheapest, 0.4), *others], EPOCHS).goes_on

    assert goes_on(cheapest=40)
    assert not goes_on(cheapest=1)


@pytest.mark.parametrize("span", [10.0, 1000.0, 10_000.0])
def test_the_expensive_end_of_a_wide_range_stays_open(span: float) -> None:
    """A trial that would end with half of the best error goes on, whatever it costs."""
    errors = 0.3 * np.geomspace(1, span, 40) ** -0.25
    others = [
        TrialCurve((cost,), {RUNG: 1 - 2 * error, EPOCHS: 1 - error})
        for cost, error in zip(np.geomspace(1, span, 40), errors, strict=True)
    ]
    half = TrialCurve((0.95 * span,), {RUNG: 1 - errors[-1]})
    assert decide(half, others, EPOCHS).goes_on


def test_other_epochs_and_the_order_of_the_others_do_not_matter() -> None:
    """Accuracies at other epochs and running trials do not change the decision."""
    others = finished(spread=0.1)
    asked = trial(5e6, 0.7)
    plain = decide(asked, others, EPOCHS)
    noisy = [TrialCurve(s.costs, {**s.curve, 1: 0.0, 5: 0.99}) for s in reversed(others)]
    running = [trial(4e6, 0.99), TrialCurve((4e6,), {1: 0.99})]
    again = decide(TrialCurve(asked.costs, {**asked.curve, 1: 0.9}), [*noisy, *running], EPOCHS)
    assert again.goes_on == plain.goes_on
    assert again.at_best == pytest.approx(plain.at_best)
    assert again.to_beat == plain.to_beat


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.97), st.floats(1e6, 3e7), st.integers(0, 5), st.booleans())
def test_more_confidence_never_stops_more(
    early: float, macs: float, seed: int, first: bool
) -> None:
    others = finished(spread=0.2, seed=seed)
    asked = TrialCurve((macs,), {RUNG: early}) if first else trial(macs, early)
    went_on = [
        decide(asked, others, EPOCHS, StoppingSettings(confidence=confidence)).goes_on
        for confidence in (0.05, 0.5, 0.9, 0.99, 0.9999)
    ]
    assert went_on == sorted(went_on)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e6, 3e7), st.integers(0, 5), st.sampled_from([5, 6, 8, 20]))
def test_a_better_rung_never_stops_more(macs: float, seed: int, others_finished: int) -> None:
    others = finished(others_finished, spread=0.1, seed=seed)
    went_on = [decide(trial(macs, a), others, EPOCHS).goes_on for a in np.linspace(0.05, 0.98, 12)]
    assert went_on == sorted(went_on)


def test_the_training_loss_tells_what_the_accuracy_at_the_rung_does_not() -> None:
    rng = np.random.default_rng(4)
    errors = rng.uniform(0.1, 0.3, 30)
    others = [
        TrialCurve((cost,), {RUNG: rng.uniform(0.4, 0.6), EPOCHS: 1 - error}, (3.0, 2 * error))
        for cost, error in zip(rng.uniform(1e6, 4e6, 30), errors, strict=True)
    ]

    def at_best(*losses: float) -> float | None:
        return decide(TrialCurve((2e6,), {1: 0.1, RUNG: 0.5}, losses), others, EPOCHS).at_best

    good, bad, unknown, of_before = at_best(3.0, 0.2), at_best(3.0, 0.6), at_best(), at_best(0.2)
    assert good == pytest.approx(0.9, abs=0.03)
    assert bad == pytest.approx(0.7, abs=0.03)
    assert unknown is not None
    assert unknown > 0.85  # the best of what may come
    assert of_before == unknown
    without = [TrialCurve(other.costs, other.curve) for other in others[:1]]
    some = decide(
        TrialCurve((2e6,), {1: 0.1, RUNG: 0.5}, (3.0, 0.6)), [*without, *others[1:]], EPOCHS
    )
    assert some.at_best == unknown  # one old trial without a loss, and no forecast has it


def test_a_perfect_score_cannot_be_beaten() -> None:
    others = [trial(1e6 * (1 + i / 10), 0.9 + i / 100, 1.0) for i in range(8)]
    assert not decide(trial(2e6, 0.999), others, EPOCHS, images=360).goes_on
    assert not decide(trial(2e6, 0.999), others, EPOCHS).goes_on


def test_networks_that_never_learn_do_no_harm() -> None:
    others = [*finished(), *(trial(macs, 0.1, 0.1) for macs in (2e6, 8e6, 2e7))]
    middle = others[10]
    error = 1 - middle.curve[RUNG]
    assert decide(trial(middle.costs[0], 1 - error / 2), others, EPOCHS).goes_on
    assert not decide(trial(middle.costs[0], 0.1), others, EPOCHS).goes_on


def test_all_of_the_same_cost_and_accuracy() -> None:
    others = [trial(1e6, 0.5, 0.8) for _ in range(6)]
    assert decide(trial(1e6, 0.6), others, EPOCHS).goes_on
    assert not decide(trial(1e6, 0.5), others, EPOCHS).goes_on


def test_with_two_costs_a_trial_that_is_lowest_in_one_goes_on() -> None:
    def both(macs: float, params: float, early: float, final: float | None = None) -> TrialCurve:
        return TrialCurve((macs, params), trial(macs, early, final).curve)

    others = [
        both(shown.costs[0], 1e5 * (1 + i % 3), shown.curve[RUNG], shown.curve[EPOCHS])
        for i, shown in enumerate(finished())
    ]
    assert decide(both(1e7, 0.9e5, 0.05), others, EPOCHS).goes_on
    assert not decide(both(1e7, 2e5, 0.05), others, EPOCHS).goes_on
    assert decide(both(1e7, 2e5, 0.99), others, EPOCHS).goes_on


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1, 2, math.nan])
def test_confidence_out_of_range(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        StoppingSettings(confidence=confidence)


@pytest.mark.parametrize(
    ("name", "value"), [("first_odds", 0.0), ("cost_range", 0.9), ("rung_factor", 1.0)]
)
def test_other_settings_out_of_range(name: str, value: float) -> None:
    """A ratio of 1 would have no end of rungs."""
    with pytest.raises(ValueError, match=f"{name}: {value}; accepted: "):
        StoppingSettings(**{name: value})


def test_neg_log_error_orders_accuracies_up_to_a_perfect_one() -> None:
    for images in (None, 360):
        values = [neg_log_error(a, images) for a in (0.0, 0.5, 0.9, 0.99, 1.0)]
        assert values == sorted(values)
        assert math.isfinite(values[-1])
