"""When to stop a trial early: as soon as it can hardly enter the front any more.

What a trial costs is known before it is trained, so at a rung only one thing is open:
its final accuracy. That is predicted from its accuracy at the rung by what the trials
that finished gained between this rung and the end, and compared with the best final
accuracy at the same or lower cost: it must beat that one to enter the front.

The forecast is a regression of g = -log(error) on g at the rung, bent, and on cost
(`nas/stopping/forecast.py`), with the residual variance s^2. The prediction for a trial is
Student-t with the regression's degrees of freedom: wide while few trials have finished, or
where a trial is unlike those. Of s^2 the noise of the last evaluation is taken off, as far
as the validation images tell it: a trial goes on for what it may be worth, not for what
luck may show. The upper end is the final accuracy that is hoped for: with it the trial
must enter the front, and be worth its training. What it must add to the front's hypervolume
is in proportion to its cost: a part of what the search's trials have added on average for the
cheapest architecture that finished, ten times as much where training takes ten times as long,
up to a limit that leaves the dear end of a wide range open. The hypervolume reaches beyond
the dearest that finished: what is best there serves every larger budget too.

At a trial's first evaluation less confidence is asked for than later, as nearly all of its
training still lies ahead.

Rungs are compared at the same epoch only, so the learning-rate schedule may do anything
in between.
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
from nas.stopping.neg_log_error import binomial_variance, neg_log_error

CONFIDENCE = 0.96
FIRST_ODDS = 5.0  # by which its odds are divided at a trial's first evaluation
RUNG_FACTOR = 2  # thirds cost NAAP-440 a tenth more epochs for the same front
LEAST_GAIN = 0.03  # of a trial's average gain: what the cheapest architecture must add
MOST_GAIN = 0.009  # of the front's hypervolume: no trial has to add more
COST_MARGIN = 0.15  # of the front's extent: the reference point lies so far beyond its dear end
ERROR_MARGIN = 0.05  # and so far beyond its worst error
MIN_FINISHED = 4  # before that many trials have finished, none is stopped
COST_RANGE = 2.0  # a trial is compared only if there is another one within this factor
LEAST_OWN = 0.2  # of a prediction's variance, at least so much is not the evaluation's noise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrialCurve:
    """What a trial has shown so far."""

    costs: tuple[float, ...]  # of every objective but accuracy, known before training, over 0
    curve: Mapping[int, float]  # epoch -> accuracy in [0, 1] on the validation split


@dataclass(frozen=True)
class Decision:
    """Whether a trial goes on, and why it does not."""

    goes_on: bool
    at_best: float | None = None  # final accuracy that is hoped for; None: not predicted
    to_beat: float | None = None  # best final accuracy at the same or lower cost, if any


GO_ON = Decision(True)


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs after which a trial is evaluated: the last one, and halves of it down to 1.

    For example (1, 2, 5, 10) for 10 epochs and (1, 3, 6, 11, 22, 45, 90) for 90.

    Raises:
        ValueError: there is no epoch.
    """
    if epochs < 1:
        raise ValueError(f"epochs: {epochs}; accepted: 1 or more")
    found, share = [epochs], epochs / RUNG_FACTOR
    while (rung := round(share)) >= 1:
        if rung < found[-1]:
            found.append(rung)
        share /= RUNG_FACTOR
    return tuple(reversed(found))


def decide(
    trial: TrialCurve,
    others: Sequence[TrialCurve],
    epochs: int,
    *,
    confidence: float = CONFIDENCE,
    images: int | None = None,
) -> Decision:
    """Whether a trial that has reached a rung goes on.

    Args:
        trial: the last epoch of its curve is the rung.
        others: all other trials: running, stopped and finished, in any order.
        epochs: of the whole schedule; a trial with an accuracy there has finished.
        confidence: of the final accuracy that is hoped for: it stays below with this
            probability. At a trial's first evaluation, within the first quarter of the
            schedule, a lower one is taken. Higher is more careful; in (0, 1).
        images: of the validation split, for the noise of its accuracies.

    Returns:
        The decision. A trial always goes on while fewer than `MIN_FINISHED` others have
        finished, if no other trial within a factor of two of each of its costs has
        reached the rung, and if none at the same or lower cost has finished.

    Raises:
        ValueError: `confidence` is out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence}; accepted: a number between 0 and 1")
    rung = max(trial.curve)
    assert rung < epochs, "a trial that has finished is not decided on"
    reached = [other for other in others if rung in other.curve]
    finished = [other for other in reached if epochs in other.curve]
    if len(finished) < MIN_FINISHED or not any(_comparable(trial, other) for other in reached):
        return GO_ON
    no_dearer = [other.curve[epochs] for other in finished if _no_dearer(other, trial)]
    if not no_dearer:
        return GO_ON
    features = _features(finished, rung, images)
    ends = neg_log_error([other.curve[epochs] for other in finished], images)
    at = _features([trial], rung, images)[0]
    perfect = float(neg_log_error(1.0, images))
    if len(trial.curve) == 1 and rung <= epochs / 4:
        confidence /= confidence + FIRST_ODDS * (1 - confidence)
    hope = min(_optimistic(features, ends, at, confidence, images), perfect)
    points = np.column_stack([features[:, 1:], np.exp(-ends)])  # log costs, error
    hoped = np.append(at[1:], math.exp(-max(hope, 0.0)))
    better = hope > float(neg_log_error(max(no_dearer), images))
    goes_on = better and _adds(hoped, points, len(others) + 1)
    return Decision(goes_on, 1 - float(hoped[-1]), max(no_dearer))


def _adds(point: Array, points: Array, trials: int) -> bool:
    """Whether a point adds enough to the hypervolume of `points` for what it costs.

    Args:
        point: [costs + 1], log costs and error.
        points: [finished, costs + 1], the same of those that finished.
        trials: of the search so far, finished or not; they have added all that there is.
    """
    # Of several costs the geometric mean stands for the time that training takes.
    dearer = math.exp(float((point[:-1] - points[:, :-1].min(axis=0)).mean()))
    front = points[non_dominated(points)]
    everything = np.vstack([front, point])
    best, worst = everything.min(axis=0), everything.max(axis=0)
    worst[:-1] = np.maximum(worst[:-1], points[:, :-1].max(axis=0))
    extent = worst - best
    extent[:-1] = np.maximum(extent[:-1], math.log(COST_RANGE))
    margins = np.append(np.full(len(extent) - 1, COST_MARGIN), ERROR_MARGIN)
    reference = worst + margins * extent
    before = hypervolume(front, reference)
    wanted = min(LEAST_GAIN / trials * dearer, MOST_GAIN)
    return hypervolume(everything, reference) - before > wanted * before


def _features(trials: Sequence[TrialCurve], rung: int, images: int | None) -> Array:
    """[trials, 1 + costs], goodness at a rung and log costs."""
    good = neg_log_error([trial.curve[rung] for trial in trials], images)
    return np.column_stack([good, np.log([trial.costs for trial in trials])])


def _comparable(a: TrialCurve, b: TrialCurve) -> bool:
    """Within a factor of `COST_RANGE` in each cost."""
    return all(
        x <= COST_RANGE * y and y <= COST_RANGE * x for x, y in zip(a.costs, b.costs, strict=True)
    )


def _no_dearer(a: TrialCurve, b: TrialCurve) -> bool:
    return all(x <= y for x, y in zip(a.costs, b.costs, strict=True))


def _optimistic(
    features: Array, ends: Array, at: Array, confidence: float, images: int | None
) -> float:
    """Upper end of the one-sided prediction interval of the final goodness.

    Args:
        features: [finished, 1 + costs], goodness at the rung first.
        ends: [finished], final goodness.
        at: [1 + costs], the features of the trial.
        confidence: probability that the trial stays below.
        images: of the validation split; the evaluations' noise follows from it.
    """
    means, residual, leverages, degrees = forecast(features, ends, at[None])
    mean, leverage = float(means[0]), float(leverages[0])
    noise = float(binomial_variance(mean, images))
    # However well the finished trials happen to fit, they were evaluated with noise.
    variance = max(residual, noise)
    own = max(variance - noise, LEAST_OWN * variance)
    deviation = math.sqrt(own + variance * leverage)
    return mean + float(stdtrit(degrees, confidence)) * deviation
