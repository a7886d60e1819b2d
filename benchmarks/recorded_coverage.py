"""How often final accuracies of recorded searches lie above the stopping rule's bound.

Each finished trial is forecast from all the others at each rung (leave one out). Noise: the part
of the binomial noise of an evaluation that networks do not have in common, from the images that
they classified right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.recorded_curves import FOLDER, RecordedSearch, read_recorded, read_trials_csv
from nas.stopping.neg_log_error import neg_log_error
from nas.stopping.rule import StoppingSettings, TrialCurve, decide

EARLIER = Path(__file__).parents[1] / "results" / "benchmarks" / "earlier-run" / "trials.csv"
EARLIER_IMAGES = 2000  # of its validation split


@dataclass(frozen=True)
class Coverage:
    """Forecasts of one search at one rung."""

    rung: int
    forecasts: int
    above: int  # final accuracies above the bound

    @property
    def share(self) -> float:
        """Of the final accuracies above the bound; 1 - confidence where the bound is honest."""
        return self.above / self.forecasts


def recorded_searches() -> list[RecordedSearch]:
    """The recorded searches: an earlier one of 200 trials, and those without stopping."""
    files = sorted(FOLDER.glob("*.json"))
    return [read_trials_csv(EARLIER, EARLIER_IMAGES), *(read_recorded(path) for path in files)]


def coverage(
    curves: list[TrialCurve], epochs: int, images: int, confidence: float = 0.96
) -> list[Coverage]:
    """Leave-one-out coverage of the bound at each rung before the last.

    Trials for which the rule makes no forecast (`decide`) are left out.
    """
    settings = StoppingSettings(confidence=confidence, first_odds=1)
    counts = []
    for rung in sorted(curves[0].curve)[:-1]:
        above = forecasts = 0
        for trial in curves:
            so_far = {epoch: value for epoch, value in trial.curve.items() if epoch <= rung}
            others = [other for other in curves if other is not trial]
            asked = TrialCurve(trial.costs, so_far, trial.losses)
            bound = decide(asked, others, epochs, settings, images=images).at_best
            if bound is not None:
                forecasts += 1
                final = float(neg_log_error(trial.curve[epochs], images))
                above += final > -math.log(1 - bound)
        counts.append(Coverage(rung, forecasts, above))
    return counts


def own_noise(search: RecordedSearch) -> dict[int, tuple[float, float]]:
    """The noise that the networks of a search do not have in common.

    Returns:
        For each rung: its share of the binomial noise, as variances of negative log errors,
        and its correlation with the same at the end.
    """
    last = search.epochs
    influence = {}  # on -log(error), of each image
    for rung in search.trials[0].right:
        wrong = ~np.array([trial.right[rung] for trial in search.trials])
        error = wrong.mean(axis=1, keepdims=True)
        influence[rung] = (wrong - error) / error

    def own(first: int, second: int) -> tuple[float, float]:
        """Covariance within networks less that between them; the former."""
        matrix = influence[first] @ influence[second].T / search.images**2
        within, number = float(np.trace(matrix)), len(matrix)
        between = (float(matrix.sum()) - within) / (number * (number - 1))
        return within / number - between, within / number

    shares = {}
    for rung in influence:
        variance, binomial = own(rung, rung)
        correlation = own(rung, last)[0] / math.sqrt(variance * own(last, last)[0])
        shares[rung] = (variance / binomial, correlation)
    return shares
