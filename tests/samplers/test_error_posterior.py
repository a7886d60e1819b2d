"""Joint posterior samples of the errors of finished trials."""

from __future__ import annotations

import numpy as np
import pytest

from nas.samplers import error_posterior
from nas.samplers.error_posterior import draw_errors
from nas.samplers.history import EndedTrial
from nas.space.space import Choice

CHOICES = tuple(Choice(f"x{i}", (0, 1, 2, 3)) for i in range(4))
IMAGES = 400


def search(
    count: int, seed: int, stopped: int = 0
) -> tuple[list[EndedTrial], np.ndarray, np.ndarray]:
    """Trials of random architectures: ended trials, log10 costs, true errors of the finished."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(256)[: count + stopped]
    codes = np.stack([codes // 4**i % 4 for i in range(4)], axis=1)
    effects = rng.normal(size=4)
    true = 0.3 * np.exp(-0.25 * codes.sum(1) + 0.3 * np.tanh(codes - 1.5) @ effects)
    true = np.minimum(true, 0.9)
    measured = rng.binomial(IMAGES, true) / IMAGES
    ended = []
    for i, code in enumerate(codes.tolist()):
        curve = {1: 1 - min(0.95, 1.5 * measured[i])}
        ended.append(EndedTrial(tuple(code), curve, None if i >= count else float(measured[i])))
    return ended, 10 ** (1 + 0.1 * codes.sum(1, keepdims=True)), true[:count]


@pytest.mark.parametrize("stopped", [0, 30])
def test_means_are_nearer_to_the_truth_than_measurements(stopped: int) -> None:
    ratios = []
    for seed in range(4):
        ended, costs, true = search(60, seed, stopped)
        samples = draw_errors(CHOICES, ended, costs, IMAGES, 400)
        measured = np.array([t.error for t in ended if t.error is not None])
        assert samples.shape == (400, 60)
        assert ((samples >= 0) & (samples <= 1)).all()
        ratios.append(np.abs(samples.mean(0) - true).mean() / np.abs(measured - true).mean())
    assert np.mean(ratios) < 0.75


def test_intervals_hold_the_truth() -> None:
    held = []
    for seed in range(6):
        ended, costs, true = search(50, seed)
        low, high = np.quantile(draw_errors(CHOICES, ended, costs, IMAGES, 400), [0.025, 0.975], 0)
        held += ((low <= true) & (true <= high)).tolist()
    assert 0.9 <= np.mean(held) <= 0.995


def test_the_same_trials_have_the_same_samples() -> None:
    ended, costs, _ = search(20, 0)
    first, again = (draw_errors(CHOICES, ended, costs, IMAGES, 50) for _ in "ab")
    assert (first == again).all()


def test_without_images_what_choices_do_not_explain_is_noise() -> None:
    """A measurement that differs from all that is like it is drawn towards them."""
    ended, costs, _ = search(60, 1)
    samples = draw_errors(CHOICES, ended, costs, None, 100)
    measured = np.array([t.error for t in ended])
    assert np.abs(samples.mean(0) - measured).max() > 0.005


def test_a_large_study_is_estimated_in_part_jointly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures hardly depend on how many trials are joint; those alone are no less certain."""
    ended, costs, true = search(120, 2, 20)
    whole = draw_errors(CHOICES, ended, costs, IMAGES, 400)
    monkeypatch.setattr(error_posterior, "MAX_JOINT", 60)
    part = draw_errors(CHOICES, ended, costs, IMAGES, 400)
    assert part.shape == whole.shape
    assert np.abs(part.mean(0) - true).mean() < 1.3 * np.abs(whole.mean(0) - true).mean()
    measured = np.array([t.error for t in ended if t.error is not None])
    assert np.abs(part.mean(0) - true).mean() < 0.85 * np.abs(measured - true).mean()
