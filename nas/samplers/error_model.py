"""The sampler's model of error: targets, when to refit, and predictions over a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.pareto import non_dominated
from nas.samplers.anova_kernel import Kernel, Points
from nas.samplers.binomial_noise import BinomialNoise
from nas.samplers.candidates import Candidates
from nas.samplers.encoding import Code
from nas.samplers.gaussian_process import Posteriors, fit
from nas.samplers.history import Ended, History
from nas.samplers.outcome_transform import Warp
from nas.samplers.stopped import Trials, final_errors

Array = NDArray[np.float64]

LEAST = 4  # finished trials that a fit needs
GROWTH = 1.2  # hyper-parameters are fitted again when there are so many times more trials
DRAWS = ((128, 16), (180, 8))
"""(trials, draws of hyper-parameters besides the most probable): they pay while trials are few."""
FIT_ON = 200  # trials at most; fits cost the cube of it


class Observed(NamedTuple):
    """The final errors of N trials, some of which were stopped before."""

    codes: list[Code]
    errors: Array  # [N], those of stopped trials as forecast
    expected: Array  # [N], these without the luck of few validation images
    variances: Array  # [N], of the logarithms of these, besides the noise of every error


def fit_size(ended: int) -> int:
    """How many of the trials that ended hyper-parameters are fitted on, in order of their end.

    A function of the number alone, so that a search continued in another process has
    the same hyper-parameters.
    """
    size = LEAST
    while (larger := max(size + 1, int(size * GROWTH))) <= ended:
        size = larger
    return size


class ErrorModel:
    """Predictions of log error over a pool, conditioned on a study's history.

    Args:
        images: that errors are measured on; None: errors are taken as exact.
    """

    def __init__(self, candidates: Candidates, seed: int, images: int | None = None) -> None:
        self._candidates, self._seed, self._images = candidates, seed, images
        self._kernel = Kernel(candidates.encoding.choices)
        costs = candidates.base_costs
        self._centre, self._spread = costs.mean(axis=0), np.maximum(costs.std(axis=0), 1e-9)
        self._pool = self.points(candidates.codes)
        self._luck: BinomialNoise
        self._fitted: tuple[Ended, ...] = ()
        self._posteriors: Posteriors | None = None

    def points(self, codes: Sequence[Code]) -> Points:
        """Codes as the kernel sees them."""
        scaled = (self._costs(codes) - self._centre) / self._spread
        array = self._candidates.encoding.array(codes)
        return Points(array, scaled)

    def _costs(self, codes: Sequence[Code]) -> Array:
        """[N, costs], log10; N may be 0."""
        return self._candidates.costs(codes).reshape(len(codes), len(self._centre))

    def condition(self, history: History) -> Posteriors:
        """The posteriors given finished, stopped and pending trials.

        Pending ones enter with their predicted value, so that the next suggestion is
        one that is worth while besides them.

        Raises:
            FitError: numerical failure; the next call fits from scratch.
        """
        posteriors = self._refit(history)
        seen = self._observed(history.ended)
        targets = np.stack([s.targets(seen.errors, seen.expected) for s in posteriors.scales])
        noise = np.stack([s.variances(seen.expected, seen.variances) for s in posteriors.scales])
        points = self.points([*seen.codes, *history.pending])
        posteriors.observe(points, targets, noise)
        return posteriors

    def _observed(self, ended: Sequence[Ended]) -> Observed:
        """What finished trials showed, then what those stopped early let expect."""
        finished, errors = _finished(ended)
        stopped = [trial for trial in ended if trial.error is None]
        costs = self._costs([trial.code for trial in finished])
        expected, of_luck = self._luck.without(costs, errors)
        floor = 0.5 / (self._images + 1) if self._images else max(1e-4, errors.min() / 4)
        rows, mean, variance = final_errors(
            self._trials(stopped),
            self._trials(finished),
            errors,
            floor=floor,
            least=max(1e-4, expected.min()),  # the scale of all errors hangs on it
        )
        return Observed(
            [trial.code for trial in (*finished, *(stopped[row] for row in rows))],
            np.append(errors, np.exp(mean)),
            np.append(expected, np.exp(mean)),
            np.append(of_luck, variance),
        )

    def _trials(self, ended: Sequence[Ended]) -> Trials:
        return Trials(self._costs([trial.code for trial in ended]), [t.curve for t in ended])

    def _refit(self, history: History) -> Posteriors:
        finished = [i for i, trial in enumerate(history.ended, 1) if trial.error is not None]
        size = max(fit_size(len(history.ended)), finished[LEAST - 1])
        fitted = tuple(history.ended[:size])
        if fitted == self._fitted and self._posteriors is not None:
            return self._posteriors
        self._posteriors = None
        trials, errors = _finished(fitted)
        self._luck = BinomialNoise(self._costs([t.code for t in trials]), errors, self._images)
        observed = self._observed(fitted)
        rows = self._informative(observed.codes, observed.expected)
        points = self.points([observed.codes[row] for row in rows])
        warp = Warp(observed.errors[rows], observed.expected[rows], observed.variances[rows])
        rng = np.random.default_rng([self._seed, 4, size])
        draws = next((count for most, count in DRAWS if len(rows) <= most), 0)
        sets = fit(self._kernel, points, warp, draws, rng)
        exact = self._images is None
        posteriors = Posteriors(self._kernel, sets, self._pool, exact=exact)
        self._fitted, self._posteriors = fitted, posteriors
        return self._posteriors

    def _informative(self, codes: Sequence[Code], errors: Array) -> NDArray[np.int64]:
        """All rows, or of many: half those nearest to the front, half random others."""
        if len(codes) <= FIT_ON:
            return np.arange(len(codes))
        costs = self._candidates.costs(codes)
        points = np.column_stack([costs, errors])
        front = points[non_dominated(points)]
        excess = np.array(
            [
                e - front[(front[:, :-1] <= c).all(axis=1), -1].min()
                for c, e in zip(costs, errors, strict=True)
            ]
        )
        order = np.argsort(excess, kind="stable")
        rng = np.random.default_rng([self._seed, 2, len(codes)])
        others = rng.choice(order[FIT_ON // 2 :], FIT_ON - FIT_ON // 2, replace=False)
        return np.sort(np.concatenate([order[: FIT_ON // 2], others]))


def _finished(ended: Sequence[Ended]) -> tuple[list[Ended], Array]:
    """Those that finished, and their errors."""
    finished = [trial for trial in ended if trial.error is not None]
    return finished, np.array([trial.error for trial in finished], dtype=np.float64)
