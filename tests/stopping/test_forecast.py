"""Forecasts of final accuracy, and what the sampler learns of stopped trials from them."""

import math

import numpy as np
import pytest

from nas.samplers.stopped import ENOUGH, Trials, final_errors
from nas.stopping.forecast import forecast

RUNG, LAST = 2, 8
LIMITS = {"floor": 1e-4, "least": 0.01}


def finished(count: int, noise: float = 0.0) -> tuple[Trials, np.ndarray]:
    """Error at the end: half of that at the rung, and less by the fourth root of the cost."""
    rng = np.random.default_rng(0)
    early, log_costs = rng.uniform(0.1, 0.4, count), rng.uniform(0, 2, count)
    errors = 0.5 * early * np.exp(-0.25 * log_costs + noise * rng.standard_normal(count))
    curves = [{RUNG: 1 - a, LAST: 1 - b} for a, b in zip(early, errors, strict=True)]
    return Trials(log_costs[:, None], curves), errors


def test_with_many_trials_it_is_the_line_through_them() -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((5000, 3))
    ends = 0.3 + features @ [0.7, 0.2, -0.4] + 0.1 * rng.standard_normal(5000)
    found = forecast(features, ends, np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))
    assert found.mean == pytest.approx([0.3, 0.3 + 0.7 + 0.4 - 1.2], abs=0.02)
    assert found.residual == pytest.approx(0.01, rel=0.1)
    assert found.degrees == pytest.approx(4995, abs=0.1)  # a mean, three slopes and a square
    assert found.leverage[1] > found.leverage[0] > 0


def bent(neg_log_error: np.ndarray) -> np.ndarray:
    return 0.5 + neg_log_error - 0.1 * neg_log_error**2


def test_what_is_better_at_the_rung_may_gain_less() -> None:
    features = np.random.default_rng(2).uniform(0, 3, (300, 2))
    at = np.array([[0.5, 1.0], [1.5, 1.0], [2.5, 1.0]])
    found = forecast(features, bent(features[:, 0]), at)
    assert found.mean == pytest.approx(bent(at[:, 0]), abs=0.02)


def test_far_below_what_has_finished_the_bend_is_not_continued() -> None:
    """As a parabola it would sink to errors above 1; the line through the rest is no better."""
    features = np.random.default_rng(3).uniform(2, 3, (300, 2))
    found = forecast(features, bent(features[:, 0]), np.array([[2.0, 2.5], [0.0, 2.5]]))
    at_edge, far = found.mean
    slope = 1.0 - 0.2 * 2.5  # of `bent` in the middle
    assert at_edge == pytest.approx(bent(2.0), abs=0.02)
    assert far == pytest.approx(at_edge - 2 * slope, abs=0.1)


def test_with_few_trials_errors_fall_by_the_same_factor() -> None:
    """The slopes are drawn towards "no slope" of the gain, whatever the two trials say."""
    features = np.array([[0.0, 0.0], [1.0, 0.0]])
    ends = np.array([1.0, 3.0])  # alone they would say 2 for each unit
    low, high = forecast(features, ends, features).mean
    # A third of the gain's slope is taken off.
    assert high - low == pytest.approx(1 + 2 / 3, rel=1e-6)


def test_a_stopped_trial_points_to_what_alike_ones_reached() -> None:
    dear_and_cheap = Trials(np.array([[2.0], [0.0]]), [{1: 0.3, RUNG: 0.8}, {RUNG: 0.8}])
    rows, mean, variance = final_errors(dear_and_cheap, *finished(60), **LIMITS)
    assert rows.tolist() == [0, 1]
    assert np.exp(mean) == pytest.approx([0.1 * math.exp(-0.5), 0.1], rel=0.05)
    _, _, noisy = final_errors(dear_and_cheap, *finished(60, noise=0.3), **LIMITS)
    assert (noisy > 10 * variance).all()
    assert noisy == pytest.approx(0.3**2, rel=0.5)


def test_none_points_to_less_than_the_limit() -> None:
    others, errors = finished(60)
    better_than_all = Trials(np.array([[2.0]]), [{RUNG: 0.999}])
    hopeless = Trials(np.array([[0.0]]), [{RUNG: 0.0}])
    _, mean, _ = final_errors(better_than_all, others, errors, **LIMITS)
    assert np.exp(mean) == pytest.approx(LIMITS["least"])
    assert np.exp(final_errors(hopeless, others, errors, **LIMITS)[1]) <= 1.0


def test_the_last_epoch_that_enough_have_reached_counts() -> None:
    others, errors = finished(40)
    trial = Trials(np.array([[1.0]]), [{RUNG: 0.8, 4: 0.99}])
    _, at_rung, _ = final_errors(trial, others, errors, **LIMITS)
    for curve in others.curves[: ENOUGH - 1]:
        curve[4] = 0.1
    _, still, _ = final_errors(trial, others, errors, **LIMITS)
    assert still == pytest.approx(at_rung)
    others.curves[ENOUGH][4] = 0.1
    _, later, _ = final_errors(trial, others, errors, **LIMITS)
    assert later == math.log(LIMITS["least"])  # 0.99 is better than all of them


def test_what_too_few_have_gone_through_teaches_nothing() -> None:
    at_rung, elsewhere = ({epoch: 0.8} for epoch in (RUNG, 3))
    for curve, count, known in [
        (at_rung, ENOUGH, 1),
        (at_rung, ENOUGH - 1, 0),
        (at_rung, 0, 0),
        (elsewhere, 40, 0),
    ]:
        trial = Trials(np.array([[1.0]]), [curve])
        rows, mean, variance = final_errors(trial, *finished(count), **LIMITS)
        assert len(rows) == len(mean) == len(variance) == known
    assert len(final_errors(Trials(np.zeros((0, 1)), []), *finished(40), **LIMITS)[0]) == 0
