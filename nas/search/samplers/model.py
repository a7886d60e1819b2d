"""The sampler's model of error: targets, when to refit, and predictions over a pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto import non_dominated
from nas.search.samplers.candidates import Candidates
from nas.search.samplers.encoding import Code
from nas.search.samplers.history import History
from nas.search.samplers.kernel import Kernel, Points
from nas.search.samplers.stopped import Trials, final_errors
from nas.search.samplers.surrogate import Posterior, fit

Array = NDArray[np.float64]

LEAST = 4  # finished trials that a fit needs
GROWTH = 1.06  # hyper-parameters are fitted again when there are so many times more trials
DRAWS = ((64, 4), (256, 2))
"""(trials, draws of hyper-parameters besides the most probable): they pay while trials are few."""
FIT_ON = 200  # trials at most; fits cost the cube of it


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

    def points(self, codes: Sequence[Code]) -> Points:
        """Codes as the kernel sees them."""
        scaled = (self._costs(codes) - self._centre) / self._spread
        array = self._candidates.encoding.array(codes)
        return self._kernel.points(array, scaled)

    def _costs(self, codes: Sequence[Code]) -> Array:
        """[N, costs], log10; N may be 0."""
        return self._candidates.costs(codes).reshape(len(codes), len(self._centre))

    def condition(self, history: History) -> list[Posterior]:
        """The posteriors given finished, stopped and pending trials.

        Pending ones enter with their predicted value, so that the next suggestion is
        one that is worth while besides them.

        Raises:
            FitError: numerical failure; the next call fits from scratch.
        """
        self._refit(history)
        codes, errors, stopped = self._shown(history)
        points = self.points(codes)
        pending = self.points(history.pending)
        both = self.points([*codes, *history.pending])
        for posterior in self.posteriors:
            scale = posterior.scale
            targets = scale.targets(errors)
            # A stopped trial's error is uncertain by a factor; so far from the floor, its
            # target is so by about as much.
            extra = stopped * (errors / np.maximum(errors - scale.floor, 1e-6)) ** 2
            noise = extra / scale.deviation**2
            posterior.observe(points, targets, noise)
            if history.pending:
                mean, _ = posterior.predict_at(pending)
                padded = np.append(noise, np.zeros(len(mean)))
                posterior.observe(both, np.append(targets, mean), padded)
        return self.posteriors

    def _shown(self, history: History) -> tuple[list[Code], Array, Array]:
        """Codes, errors and variances of log error, of finished and stopped trials."""
        stopped = [code for code, _ in history.stopped]
        rows, mean, variance = final_errors(
            Trials(self._costs(stopped), [curve for _, curve in history.stopped]),
            Trials(self._costs(history.codes), history.curves),
            np.array(history.errors),
            floor=max(1e-4, min(history.errors) / 4),
        )
        codes = [*history.codes, *(stopped[row] for row in rows)]
        errors = np.append(history.errors, np.exp(mean))
        return codes, errors, np.append(np.zeros(len(history.codes)), variance)

    def _refit(self, history: History) -> None:
        size = fit_size(len(history.codes))
        fitted = tuple(history.codes[:size])
        if fitted == self._fitted and self.posteriors:
            return
        self.posteriors = []
        errors = np.array(history.errors[:size])
        rows = self._informative(fitted, errors)
        points = self.points([fitted[row] for row in rows])
        rng = np.random.default_rng([self._seed, 4, size])
        draws = next((count for most, count in DRAWS if size <= most), 0)
        for fitted_to in fit(self._kernel, points, errors[rows], draws, rng):
            self.posteriors.append(Posterior(self._kernel, fitted_to, self._pool))
        self._fitted = fitted

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
