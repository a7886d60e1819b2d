"""Forecasts of final accuracy, and what the sampler learns from stopped trials."""

import math

import numpy as np
import pytest

from nas.samplers.stopped_trials import MIN_REACHED, CurvesWithCosts, forecast_final_errors
from nas.stopping.forecast import forecast

RUNG, LAST = 2, 8
LIMITS = {"min_error": 1e-4, "min_forecast": 0.01}


def finished(count: int, noise: float = 0.0) -> tuple[CurvesWithCosts, np.ndarray]:
    """Error at the end: half of that at the rung, and less by the fourth root of the cost."""
    rng = np.random.default_rng(0)
    early, log_costs = rng.uniform(0.1, 0.4, count), rng.uniform(0, 2, count)
    errors = 0.5 * early * np.exp(-0.25 * log_costs + noise * rng.standard_normal(count))
    curves = [{RUNG: 1 - a, LAST: 1 - b} for a, b in zip(early, errors, strict=True)]
    return CurvesWithCosts(log_costs[:, None], curves), errors


def test_many_trials_on_a_line_are_forecast_by_that_line() -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((5000, 3))
    ends = 0.3 + features @ [0.7, 0.2, -0.4] + 0.1 * rng.standard_normal(5000)
    found = forecast(features, ends, np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))
    assert found.mean == pytest.approx([0.3, 0.3 + 0.7 + 0.4 - 1.2], abs=0.02)
    assert found.residual_variance == pytest.approx(0.01, rel=0.1)
    assert found.degrees == pytest.approx(4995, abs=0.1)  # a mean, three slopes and a square
    assert found.leverage[1] > found.leverage[0] > 0


def bent(neg_log_error: np.ndarray) -> np.ndarray:
    return 0.5 + neg_log_error - 0.1 * neg_log_error**2


def test_trials_that_are_better_at_the_rung_may_gain_less() -> None:
    features = np.random.default_rng(2).uniform(0, 3, (300, 2))
    at = np.array([[0.5, 1.0], [1.5, 1.0], [2.5, 1.0]])
    found = forecast(features, bent(features[:, 0]), at)
    assert found.mean == pytest.approx(bent(at[:, 0]), abs=0.02)


def test_outside_the_range_of_finished_trials_the_square_is_constant() -> None:
    """A parabola would fall to errors above 1."""
    features = np.random.default_rng(3).uniform(2, 3, (300, 2))
    found = forecast(features, bent(features[:, 0]), np.array([[2.0, 2.5], [0.0, 2.5]]))
    at_edge, far = found.mean
    slope = 1.0 - 0.2 * 2.5  # of `bent` in the middle
    assert at_edge == pytest.approx(bent(2.0), abs=0.02)
    assert far == pytest.approx(at_edge - 2 * slope, abs=0.1)


def test_with_few_trials_errors_fall_by_the_same_factor() -> None:
    """The ridge penalty shrinks the slope of the gain, whatever the two trials say."""
    features = np.array([[0.0, 0.0], [1.0, 0.0]])
    ends = np.array([1.0, 3.0])  # without the penalty: 2 for each unit
    low, high = forecast(features, ends, features).mean
    # A third of the gain's slope is taken off.
    assert high - low == pytest.approx(1 + 2 / 3, rel=1e-6)


def test_a_stopped_trial_is_forecast_from_similar_finished_ones() -> None:
    expensive_and_cheap = CurvesWithCosts(
        np.array([[2.0], [0.0]]), [{1: 0.3, RUNG: 0.8}, {RUNG: 0.8}]
    )
    rows, mean, variance = forecast_final_errors(expensive_and_cheap, *finished(60), **LIMITS)
    assert rows.tolist() == [0, 1]
    assert np.exp(mean) == pytest.approx([0.1 * math.exp(-0.5), 0.1], rel=0.05)
    _, _, noisy = forecast_final_errors(expensive_and_cheap, *finished(60, noise=0.3), **LIMITS)
    assert (noisy > 10 * variance).all()
    assert noisy == pytest.approx(0.3**2, rel=0.5)


def test_no_forecast_is_below_the_limit() -> None:
    others, errors = finished(60)
    better_than_all = CurvesWithCosts(np.array([[2.0]]), [{RUNG: 0.999}])
    hopeless = CurvesWithCosts(np.array([[0.0]]), [{RUNG: 0.0}])
    _, mean, _ = forecast_final_errors(better_than_all, others, errors, **LIMITS)
    assert np.exp(mean) == pytest.approx(LIMITS["min_forecast"])
    assert np.exp(forecast_final_errors(hopeless, others, errors, **LIMITS)[1]) <= 1.0


def test_the_forecast_starts_at_the_last_epoch_that_enough_trials_reached() -> None:
    others, errors = finished(40)
    trial = CurvesWithCosts(np.array([[1.0]]), [{RUNG: 0.8, 4: 0.99}])
    _, at_rung, _ = forecast_final_errors(trial, others, errors, **LIMITS)
    for curve in others.curves[: MIN_REACHED - 1]:
        curve[4] = 0.1
    _, still, _ = forecast_final_errors(trial, others, errors, **LIMITS)
    assert still == pytest.approx(at_rung)
    others.curves[MIN_REACHED][4] = 0.1
    _, later, _ = forecast_final_errors(trial, others, errors, **LIMITS)
    assert later == math.log(LIMITS["min_forecast"])  # 0.99 is better than all of them


def test_an_epoch_that_too_few_trials_reached_gives_no_forecast() -> None:
    at_rung, elsewhere = ({epoch: 0.8} for epoch in (RUNG, 3))
    for curve, count, known in [
        (at_rung, MIN_REACHED, 1),
        (at_rung, MIN_REACHED - 1, 0),
        (at_rung, 0, 0),
        (elsewhere, 40, 0),
    ]:
        trial = CurvesWithCosts(np.array([[1.0]]), [curve])
        rows, mean, variance = forecast_final_errors(trial, *finished(count), **LIMITS)
        assert len(rows) == len(mean) == len(variance) == known
    assert (
        len(
            forecast_final_errors(CurvesWithCosts(np.zeros((0, 1)), []), *finished(40), **LIMITS)[0]
        )
        == 0
    )
