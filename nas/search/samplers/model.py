"""The sampler's model of error: targets, when to refit, and predictions over a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nas.search.pareto import non_dominated
from nas.search.samplers.candidates import Candidates
from nas.search.samplers.encoding import Code
from nas.search.samplers.history import History
from nas.search.samplers.kernel import Kernel, Points
from nas.search.samplers.stopped import final_error
from nas.search.samplers.surrogate import Posterior, fit

Array = NDArray[np.float64]

LEAST = 4  # finished trials that a fit needs
GROWTH = 1.06  # hyper-parameters are fitted again when there are so many times more trials
DRAWS = ((64, 4), (256, 2))
"""(trials, draws of hyper-parameters besides the most probable): they pay while trials are few."""
FIT_ON = 200  # trials at most; fits cost the cube of it
SHARE_OF_FLOOR = 0.1  # of the median error: log(error + that) does not run away at error 0


class Scale(NamedTuple):
    """How errors become the targets of the process: (log(error - floor) - mean) / deviation."""

    floor: float
    mean: float
    deviation: float

    @classmethod
    def of(cls, errors: Array) -> Scale:
        """The scale of finished trials' errors."""
        floor = min(0.0, float(errors.min())) - SHARE_OF_FLOOR * max(float(np.median(errors)), 1e-6)
        logs = np.log(errors - floor)
        deviation = float(logs.std())
        return cls(floor, float(logs.mean()), deviation if deviation > 1e-9 else 1.0)

    def targets(self, errors: Array) -> Array:
        """Standardised targets of errors; below the floor they count as just above it."""
        above = np.maximum(errors - self.floor, 1e-3 * abs(self.floor) + 1e-12)
        scaled: Array = (np.log(above) - self.mean) / self.deviation
        return scaled


def fit_size(finished: int) -> int:
    """How many of the finished trials hyper-parameters are fitted on.

    A function of the number alone, so that a search continued in another process has
    the same hyper-parameters.
    """
    size = LEAST
    while (larger := max(size + 1, int(size * GROWTH))) <= finished:
        size = larger
    return size


class ErrorModel:
    """Predictions of log error over a pool, conditioned on a study's history."""

    def __init__(self, candidates: Candidates, seed: int) -> None:
        self._candidates, self._seed = candidates, seed
        self._kernel = Kernel(candidates.encoding.choices)
        costs = candidates.base_costs
        self._centre, self._spread = costs.mean(axis=0), np.maximum(costs.std(axis=0), 1e-9)
        self._pool = self.points(candidates.codes)
        self._fitted: tuple[Code, ...] = ()
        self.posteriors: list[Posterior] = []
        self.scale = Scale(0.0, 0.0, 1.0)

    def points(self, codes: Sequence[Code]) -> Points:
        """Codes as the kernel sees them."""
        costs = np.array([self._candidates.look_up(code).cost for code in codes])
        scaled = (costs.reshape(len(codes), len(self._centre)) - self._centre) / self._spread
        array = self._candidates.encoding.array(codes)
        return self._kernel.points(torch.from_numpy(array), torch.from_numpy(scaled))

    def condition(self, history: History) -> list[Posterior]:
        """The posteriors given finished, stopped and pending trials.

        Pending ones enter with their predicted value, so that the next suggestion is
        one that is worth while besides them.

        Raises:
            FitError: numerical failure; the next call fits from scratch.
        """
        self._refit(history)
        codes, targets, extra = self._shown(history)
        points, noise = self.points(codes), torch.from_numpy(extra)
        pending = self.points(history.pending)
        both = self.points([*codes, *history.pending])
        padded = torch.cat([noise, torch.zeros(len(history.pending), dtype=torch.float64)])
        for posterior in self.posteriors:
            posterior.observe(points, torch.from_numpy(targets), noise)
            if history.pending:
                mean, _ = posterior.predict_at(pending)
                posterior.observe(both, torch.from_numpy(np.append(targets, mean)), padded)
        return self.posteriors

    def _shown(self, history: History) -> tuple[list[Code], Array, Array]:
        """Codes, targets and extra variances of finished and stopped trials."""
        errors = np.array(history.errors)
        codes, targets = list(history.codes), self.scale.targets(errors)
        extra = np.zeros(len(codes))
        floor = max(1e-4, float(errors.min()) / 4)
        finished = list(zip(history.curves, history.errors, strict=True))
        for code, curve in history.stopped:
            shown = final_error(curve, finished, floor)
            if shown is not None:
                codes.append(code)
                value = self.scale.targets(np.exp(np.array([shown[0]])))
                targets = np.append(targets, value)
                extra = np.append(extra, shown[1] / self.scale.deviation**2)
        return codes, targets, extra

    def _refit(self, history: History) -> None:
        size = fit_size(len(history.codes))
        fitted = tuple(history.codes[:size])
        if fitted == self._fitted and self.posteriors:
            return
        self.posteriors = []
        errors = np.array(history.errors[:size])
        self.scale = Scale.of(errors)
        rows = self._informative(fitted, errors)
        points = self.points([fitted[row] for row in rows])
        targets = torch.from_numpy(self.scale.targets(errors[rows]))
        rng = np.random.default_rng([self._seed, 4, size])
        draws = next((count for most, count in DRAWS if size <= most), 0)
        for theta in fit(self._kernel, points, targets, draws, rng):
            self.posteriors.append(Posterior(self._kernel, theta, self._pool))
        self._fitted = fitted

    def _informative(self, codes: Sequence[Code], errors: Array) -> NDArray[np.int64]:
        """All rows, or of many: half those nearest to the front, half random others."""
        if len(codes) <= FIT_ON:
            return np.arange(len(codes))
        costs = np.array([self._candidates.look_up(code).cost for code in codes])
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
