r"""The stopping rule: stop a trial as soon as it is unlikely to enter the front.

The cost of a trial is known before training, so only its final accuracy is open. At a rung
(an epoch at which trials are evaluated) the rule forecasts the final negative log error g of
the trial by regression on the finished trials (`nas/stopping/forecast.py`) and takes an upper
bound that g, as it will be measured, stays below with a given confidence q:

    u = mean + t_v(q) sqrt(s^2 (1 + h))                                                  (1)

with mean, s^2, h and v of the forecast and the quantile t_v of Student's t distribution. The bound
is compared with accuracies of finished trials that were measured on the same images. Like is
compared with like, so no evaluation noise is subtracted: let G be the value of g on infinitely many
images, and g - G = a + e with a part a that all networks have in common, which no comparison
contains. With the slope B of the final g on that of the rung, the variances n_r and n_E of e at the
rung and at the end, their covariance k, and the variance d^2 of G_E given G_r,

    s^2 = d^2 + n_E + B^2 n_r - 2 B k.

This is the variance of the final measurement given the one at the rung. That of G_E would be
s^2 - n_E + 2 B k. To subtract the binomial noise of an evaluation is neither: it contains a, and
lacks k. The images that recorded trials classified right (`nas/stopping/right_images.py`) give n_E
as 0.3 of the binomial noise on Fashion-MNIST and 0.7 on the digits, and a correlation of e between
the rung and the end from 0.05 (epoch 1 of 8) to 0.4 (epoch 4). The form for G_E, with the
accuracies of finished trials shrunk alike, saves 2 % of the epochs at the same hypervolume (24
simulated searches): too little for a second estimate.

At a trial's first evaluation, within the first quarter of the schedule, q is lower, because
nearly all of the training still lies ahead: its odds are divided by `first_odds`,

    q / (1 - q)  ->  q / (1 - q) / first_odds.                                           (2)

The trial goes on if the error exp(-u) is lower than that of every finished trial of the same or
lower cost, and if the point (log c, exp(-u)) increases the hypervolume H of the finished trials
in proportion to the cost c of the trial, by more than

    min(min_gain / trials * c / c_min, max_gain) * H                                     (3)

with the lowest cost c_min of a finished trial and the number of trials so far: H / trials is the
gain of an average trial. `max_gain` keeps the expensive end of a wide range of costs open. The
reference point of H lies beyond the most expensive finished trial, because the best
architecture there also serves every larger budget.

Trials are compared at the same epoch only, so any learning-rate schedule is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from nas.pareto import hypervolume, non_dominated
from nas.stopping.forecast import forecast
from nas.stopping.neg_log_error import neg_log_error

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StoppingSettings:
    """Settings of the stopping rule. The equations are those of this module's docstring.

    Raises:
        ValueError: `confidence` is not between 0 and 1, `first_odds` not over 0, `cost_range`
            below 1 or `rung_factor` not over 1.
    """

    confidence: float = 0.96  # q in (1), in (0, 1); higher stops fewer trials
    first_odds: float = 5.0  # divides the odds of q at a first evaluation: 0.96 becomes 0.83 (2)
    min_finished: int = 4  # no trial is stopped before so many have finished
    cost_range: float = 2.0  # only stopped if another trial is within this factor of every cost
    min_gain: float = 0.03  # share of an average trial's gain that the cheapest trial must add (3)
    max_gain: float = 0.009  # share of the hypervolume: no trial has to add more (3)
    cost_margin: float = 0.15  # of the reference point, in ranges of the log costs
    error_margin: float = 0.05  # of the reference point, in ranges of the errors
    rung_factor: float = 2  # ratio of successive rungs; 3 costs NAAP-440 a tenth more epochs

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence: {self.confidence}; accepted: a number between 0 and 1")
        if not self.first_odds > 0:
            raise ValueError(f"first_odds: {self.first_odds}; accepted: a number over 0")
        if not self.cost_range >= 1:
            raise ValueError(f"cost_range: {self.cost_range}; accepted: 1 or more")
        if not self.rung_factor > 1:
            raise ValueError(f"rung_factor: {self.rung_factor}; accepted: a number over 1")


DEFAULT_SETTINGS = StoppingSettings()
MIN_LOSS = 1e-6  # smaller training losses count as this one


@dataclass(frozen=True)
class TrialCurve:
    """The learning curve of a trial so far."""

    costs: tuple[float, ...]  # every objective but accuracy, known before training, over 0
    curve: Mapping[int, float]  # epoch -> accuracy in [0, 1] on the validation split
    losses: Sequence[float] = ()  # mean training loss of each epoch; empty: unknown


@dataclass(frozen=True)
class Decision:
    """Whether a trial goes on, and what was compared."""

    goes_on: bool
    at_best: float | None = None  # upper bound of the final accuracy; None: no forecast
    to_beat: float | None = None  # best final accuracy at the same or lower cost


GO_ON = Decision(True)


def rungs(epochs: int, settings: StoppingSettings = DEFAULT_SETTINGS) -> tuple[int, ...]:
    """Epochs after which a trial is evaluated: the last one, its half, and so on down to 1.

    For example (1, 2, 5, 10) for 10 epochs and (1, 3, 6, 11, 22, 45, 90) for 90.

    Raises:
        ValueError: `epochs` is below 1.
    """
    if epochs < 1:
        raise ValueError(f"epochs: {epochs}; accepted: 1 or more")
    descending, share = [epochs], epochs / settings.rung_factor
    while (rung := round(share)) >= 1:
        if rung < descending[-1]:
            descending.append(rung)
        share /= settings.rung_factor
    return tuple(reversed(descending))


def decide(
    trial: TrialCurve,
    others: Sequence[TrialCurve],
    epochs: int,
    settings: StoppingSettings = DEFAULT_SETTINGS,
    *,
    images: int | None = None,
) -> Decision:
    """Decide whether a trial that has reached a rung goes on.

    Args:
        trial: the last epoch of its curve is the rung.
        others: all other trials, running, stopped or finished, in any order.
        epochs: length of the schedule; a trial with an accuracy at this epoch has finished.
        settings: of the rule.
        images: number of validation images, of which half a one is the smallest error.

    Returns:
        The decision. A trial always goes on if fewer than `min_finished` other trials have
        finished, if no other trial with costs within `cost_range` has reached the rung, or if
        no trial of the same or lower cost has finished.
    """
    rung = max(trial.curve)
    assert rung < epochs, "a trial that has finished is not decided on"
    reached = [other for other in others if rung in other.curve]
    finished = [other for other in reached if epochs in other.curve]
    if len(finished) < settings.min_finished:
        return GO_ON
    if not any(_within(trial, other, settings.cost_range) for other in reached):
        return GO_ON
    no_costlier = [other.curve[epochs] for other in finished if _costs_no_more(other, trial)]
    if not no_costlier:
        return GO_ON
    *known, of_trial = _features([*finished, trial], rung, images)
    features = np.array(known)
    final = neg_log_error([other.curve[epochs] for other in finished], images)
    perfect = float(neg_log_error(1.0, images))
    confidence = settings.confidence
    if len(trial.curve) == 1 and rung <= epochs / 4:
        confidence /= confidence + settings.first_odds * (1 - confidence)  # (2)
    bound = min(_upper_bound(features, final, of_trial, confidence), perfect)
    costs = slice(1, 1 + len(trial.costs))
    points = np.column_stack([features[:, costs], np.exp(-final)])  # log costs, error
    point = np.append(of_trial[costs], math.exp(-max(bound, 0.0)))
    better = bound > float(neg_log_error(max(no_costlier), images))
    goes_on = better and _gains_enough(point, points, len(others) + 1, settings)
    return Decision(goes_on, 1 - float(point[-1]), max(no_costlier))


def _gains_enough(point: Array, points: Array, trials: int, settings: StoppingSettings) -> bool:
    """Whether a point increases the hypervolume of `points` by more than (3).

    Args:
        point: [costs + 1], log costs and error.
        points: [finished, costs + 1], the same of the finished trials.
        trials: of the search so far, finished or not.
        settings: of the rule.
    """
    # c / c_min; for several costs the geometric mean, which stands for training time.
    cost_ratio = math.exp(float((point[:-1] - points[:, :-1].min(axis=0)).mean()))
    front = points[non_dominated(points)]
    extended = np.vstack([front, point])
    best, worst = extended.min(axis=0), extended.max(axis=0)
    worst[:-1] = np.maximum(worst[:-1], points[:, :-1].max(axis=0))
    extent = worst - best
    extent[:-1] = np.maximum(extent[:-1], math.log(settings.cost_range))
    margins = np.append(np.full(len(extent) - 1, settings.cost_margin), settings.error_margin)
    reference = worst + margins * extent
    before = hypervolume(front, reference)
    least = min(settings.min_gain / trials * cost_ratio, settings.max_gain)
    return hypervolume(extended, reference) - before > least * before


def _features(trials: Sequence[TrialCurve], rung: int, images: int | None) -> Array:
    """[trials, features]: the negative log error at a rung, log costs, log loss of its epoch.

    The column of losses is left out where a trial has none.
    """
    at_rung = neg_log_error([trial.curve[rung] for trial in trials], images)
    features = np.column_stack([at_rung, np.log([trial.costs for trial in trials])])
    if any(len(trial.losses) < rung for trial in trials):
        return features
    losses = np.array([trial.losses[rung - 1] for trial in trials])
    return np.column_stack([features, np.log(np.maximum(losses, MIN_LOSS))])


def _within(a: TrialCurve, b: TrialCurve, factor: float) -> bool:
    return all(x <= factor * y and y <= factor * x for x, y in zip(a.costs, b.costs, strict=True))


def _costs_no_more(a: TrialCurve, b: TrialCurve) -> bool:
    return all(x <= y for x, y in zip(a.costs, b.costs, strict=True))


def _upper_bound(finished: Array, final: Array, trial: Array, confidence: float) -> float:
    """The bound (1) of the final negative log error.

    Args:
        finished: [finished, features], of the finished trials.
        final: [finished], their final negative log errors.
        trial: [features], of the trial.
        confidence: that the trial stays below the bound.
    """
    means, variance, leverages, degrees = forecast(finished, final, trial[None])
    deviation = math.sqrt(variance * (1 + float(leverages[0])))
    return float(means[0]) + float(stdtrit(degrees, confidence)) * deviation
