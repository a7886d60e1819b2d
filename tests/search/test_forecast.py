"""Forecasts of final accuracy, and what the sampler learns of stopped trials from them."""

import math

import numpy as np
import pytest

from nas.search.forecast import forecast
from nas.search.samplers.stopped import ENOUGH, Trials, final_errors

RUNG, LAST = 2, 8


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
    assert found.degrees == pytest.approx(4996, abs=1)
    assert found.leverage[1] > found.leverage[0] > 0


def test_with_few_trials_errors_fall_by_the_same_factor() -> None:
    """The slopes are drawn towards "no slope" of the gain, whatever the two trials say."""
    features = np.array([[0.0, 0.0], [1.0, 0.0]])
    ends = np.array([1.0, 3.0])  # alone they would say 2 for each unit
    low, high = forecast(features, ends, features).mean
    assert 1.0 < high - low < 1.75


def test_a_stopped_trial_points_to_what_alike_ones_reached() -> None:
    dear_and_cheap = Trials(np.array([[2.0], [0.0]]), [{1: 0.3, RUNG: 0.8}, {RUNG: 0.8}])
    rows, mean, variance = final_errors(dear_and_cheap, *finished(60), 1e-4)
    assert rows.tolist() == [0, 1]
    assert np.exp(mean) == pytest.approx([0.1 * math.exp(-0.5), 0.1], rel=0.05)
    _, _, noisy = final_errors(dear_and_cheap, *finished(60, noise=0.3), 1e-4)
    assert (noisy > 10 * variance).all()
    assert noisy == pytest.approx(0.3**2, rel=0.5)


def test_the_last_epoch_that_enough_have_reached_counts() -> None:
    others, errors = finished(40)
    trial = Trials(np.array([[1.0]]), [{RUNG: 0.8, 4: 0.99}])
    _, at_rung, _ = final_errors(trial, others, errors, 1e-4)
    for curve in others.curves[: ENOUGH - 1]:
        curve[4] = 0.1
    _, still, _ = final_errors(trial, others, errors, 1e-4)
    assert still == pytest.approx(at_rung)
    others.curves[ENOUGH][4] = 0.1
    _, later, _ = final_errors(trial, others, errors, 1e-4)
    assert later < at_rung - 1


def test_what_too_few_have_gone_through_teaches_nothing() -> None:
    at_rung, elsewhere = ({epoch: 0.8} for epoch in (RUNG, 3))
    for curve, count, known in [
        (at_rung, ENOUGH, 1),
        (at_rung, ENOUGH - 1, 0),
        (at_rung, 0, 0),
        (elsewhere, 40, 0),
    ]:
        trial = Trials(np.array([[1.0]]), [curve])
        rows, mean, variance = final_errors(trial, *finished(count), 1e-4)
        assert len(rows) == len(mean) == len(variance) == known
    assert len(final_errors(Trials(np.zeros((0, 1)), []), *finished(40), 1e-4)[0]) == 0
