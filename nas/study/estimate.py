"""Estimates of the trials that finished: accuracy without the selection, and who is on the front.

The front of a search is made of the highest of noisy accuracies. A trial's estimate is the mean of
the posterior of its accuracy given all trials of the study, whichever sampler suggested them
(`nas/samplers/error_posterior.py`). The probability that a trial is on the front is the share of
joint posterior samples in which no other finished trial dominates it. Costs, latency included,
count as they are.

With too few trials for the model, the estimate is the measurement, and accuracies have the
posterior of a binomial share under Jeffreys' prior (Brown, Cai and DasGupta, "Interval estimation
for a binomial proportion", Statistical Science 16, 2001), each trial alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from nas.pareto import non_dominated
from nas.samplers.encoding import Encoding
from nas.samplers.error_model import MIN_FINISHED
from nas.samplers.error_posterior import draw_errors
from nas.samplers.gaussian_process import FitError
from nas.samplers.history import EndedTrial, curve, order_of_end
from nas.space.space import Choice
from nas.study.config import StudyConfig

Array = NDArray[np.float64]

INTERVAL = 0.95  # probability that an interval holds the accuracy
DRAWS = 2000  # posterior samples
MAX_SAMPLED = 2_000_000  # samples times trials; large studies have fewer samples


@dataclass(frozen=True)
class Estimate:
    """What is known of the accuracy of a trial that finished.

    `interval` and `on_front` are None where the study holds neither enough trials for a model nor
    the number of its validation images.
    """

    accuracy: float  # posterior mean; as measured where `modelled` is False
    interval: tuple[float, float] | None  # holds the accuracy with the probability `INTERVAL`
    on_front: float | None  # probability that no other finished trial dominates this one
    modelled: bool  # whether all trials of the study were used


def estimate_trials(
    trials: Sequence[FrozenTrial], config: StudyConfig, images: int | None
) -> dict[int, Estimate]:
    """Estimate every trial that finished, each architecture once.

    Args:
        trials: of a study.
        config: of the study.
        images: number of validation images; None: not known.

    Returns:
        The estimates by the trial's number. The same trials give the same estimates.
    """
    ended = [
        trial
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and "duplicate_of" not in trial.user_attrs
    ]
    ended.sort(key=order_of_end)  # as the sampler sees them
    finished = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    if not finished:
        return {}
    encoding = Encoding(config.space.choices)
    names = config.objectives.known_names or ["macs"]
    history, known = [], []
    for trial in ended:
        code = encoding.encode(trial.params)
        if code is not None:
            error = 1.0 - _accuracy(trial) if trial.state == TrialState.COMPLETE else None
            history.append(EndedTrial(code, curve(trial), error))
            known.append([trial.user_attrs[name] for name in names])
    errors = None
    if len(history) == len(ended):
        errors = posterior_errors(config.space.choices, history, np.array(known), images)
    columns = [config.objectives.names.index(name) for name in config.objectives.costs]
    costs = np.array([[trial.values[column] for column in columns] for trial in finished])
    measured = np.array([_accuracy(trial) for trial in finished])
    estimates = make_estimates(measured, costs, errors, images)
    return {trial.number: one for trial, one in zip(finished, estimates, strict=True)}


def _accuracy(trial: FrozenTrial) -> float:
    return float(trial.user_attrs["accuracy"])


def posterior_errors(
    choices: Sequence[Choice], ended: Sequence[EndedTrial], costs: Array, images: int | None
) -> Array | None:
    """Joint posterior samples of the errors of the finished trials; None without a model.

    Args:
        choices: of the space.
        ended: see `nas.samplers.error_posterior.draw_errors`.
        costs: [ended, costs], those that are known before training.
        images: number of validation images; None: not known.

    Returns:
        [samples, finished].
    """
    finished = sum(trial.error is not None for trial in ended)
    if finished < MIN_FINISHED:
        return None
    try:
        return draw_errors(choices, ended, costs, images, _draws(finished))
    except FitError:
        return None


def _draws(trials: int) -> int:
    return min(DRAWS, max(100, MAX_SAMPLED // trials))


def make_estimates(
    measured: Array, costs: Array, errors: Array | None, images: int | None
) -> list[Estimate]:
    """Estimates of N finished trials.

    Args:
        measured: [N], accuracies.
        costs: [N, costs], all of them to be minimised.
        errors: [samples, N], from `posterior_errors`.
        images: number of validation images; None: not known.
    """
    modelled = errors is not None
    if errors is None:
        if images is None:
            return [Estimate(float(accuracy), None, None, False) for accuracy in measured]
        errors = _binomial(1.0 - measured, images, _draws(len(measured)))
    accuracies = 1.0 - errors
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(accuracies, [tail, 1 - tail], axis=0)
    if not modelled:  # Jeffreys' interval ends where the measurement is 0 or 1
        low, high = np.where(measured == 0, 0.0, low), np.where(measured == 1, 1.0, high)
    means = accuracies.mean(axis=0).round(6) if modelled else measured
    shares = _front_shares(costs, errors)
    return [
        Estimate(
            float(means[i]),
            (round(float(low[i]), 6), round(float(high[i]), 6)),
            round(float(shares[i]), 4),
            modelled,
        )
        for i in range(len(measured))
    ]


def _binomial(errors: Array, images: int, draws: int) -> Array:
    """Samples of errors, [draws, N], each given its own measurement alone."""
    wrong = np.clip(errors, 0.0, 1.0) * images
    rng = np.random.default_rng(0)
    return rng.beta(wrong + 0.5, images - wrong + 0.5, size=(draws, len(errors)))


def _front_shares(costs: Array, errors: Array) -> Array:
    """The share of samples in which each trial is not dominated, [N].

    Args:
        costs: [N, costs].
        errors: [draws, N].
    """
    points = np.column_stack([costs, np.zeros(len(costs))])
    on_front = np.zeros(len(costs))
    for sample in errors:
        points[:, -1] = sample
        on_front += non_dominated(points)
    return on_front / len(errors)
