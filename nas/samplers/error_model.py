"""The model of error: its targets, when it is refitted, and its predictions over the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.samplers.anova_kernel import AnovaKernel
from nas.samplers.binomial_noise import BinomialNoise
from nas.samplers.candidates import Candidates
from nas.samplers.encoding import Code
from nas.samplers.fitted_sources import FittedSources
from nas.samplers.gaussian_process import fit
from nas.samplers.history import EndedTrial, History
from nas.samplers.informative import near_front_and_random
from nas.samplers.outcome_transform import GAP, SOURCE_GAP, OutcomeTransformFamily
from nas.samplers.points import Points
from nas.samplers.posteriors import Posteriors
from nas.samplers.sources import Description, Source
from nas.samplers.stopped_trials import (
    CurvesWithCosts,
    forecast_final_errors,
    smallest_error,
)

Array = NDArray[np.float64]

MIN_FINISHED = 4  # finished trials that a fit needs
GROWTH = 1.2  # hyperparameters are refitted when the number of trials has grown by this factor
HMC_DRAWS = ((128, 16), (180, 8))
"""(trials, hyperparameter samples besides the MAP): worth their time while trials are few."""
MIN_CORRELATION = 0.1  # of a source's predictions with the log errors, at equal cost
MAX_FITTED = 200  # trials that hyperparameters are fitted on; the time of a fit is cubic


class FinalErrors(NamedTuple):
    """Final errors of N trials; those of stopped trials are forecasts."""

    codes: list[Code]
    errors: Array  # [N], measured or forecast
    denoised: Array  # [N], without the binomial noise of the validation split
    log_variances: Array  # [N], of the logarithms, besides the kernel's noise


def fit_size(ended: int) -> int:
    """Number of ended trials that hyperparameters are fitted on, in order of their end.

    It depends on `ended` alone, so that a search continued by another process has the same
    hyperparameters.
    """
    size = MIN_FINISHED
    while (larger := max(size + 1, int(size * GROWTH))) <= ended:
        size = larger
    return size


class ErrorModel:
    """Gaussian-process predictions of error over a pool, conditioned on a study's history.

    Args:
        candidates: the pool.
        seed: draws the hyperparameter samples and selects the trials that they are fitted on.
        images: number of validation images; None: errors are exact.
        sources: earlier studies.
        describe: a setting in the terms of the sources.
        hmc_draws: see `HMC_DRAWS`.
    """

    def __init__(
        self,
        candidates: Candidates,
        seed: int,
        images: int | None = None,
        sources: Sequence[Source] = (),
        describe: Callable[[Mapping[str, Any]], Description] = dict,
        hmc_draws: Sequence[tuple[int, int]] = HMC_DRAWS,
    ) -> None:
        self._candidates, self._seed, self._images = candidates, seed, images
        self._hmc_draws = hmc_draws
        costs = candidates.base_costs
        self._centre, self._spread = costs.mean(axis=0), np.maximum(costs.std(axis=0), 1e-9)
        self.sources = FittedSources(sources, describe, candidates, self._scale, seed)
        count, choices = len(self.sources.models), candidates.encoding.choices
        self._cold_kernel = AnovaKernel(choices)
        self._kernel = AnovaKernel(choices, count, tilted=True) if count else self._cold_kernel
        self._used = np.ones(len(self.sources.models))  # 0 for a source that misleads
        self._pool = self.points(candidates.codes)
        self._noise: BinomialNoise
        self._fitted: tuple[EndedTrial, ...] = ()
        self._posteriors: Posteriors | None = None

    def points(self, codes: Sequence[Code]) -> Points:
        """Codes as inputs of the kernel."""
        scaled = self._scale(self._costs(codes))
        array = self._candidates.encoding.array(codes)
        if not self.sources.models:
            return Points(array, scaled)
        return self._masked(Points(array, scaled, *self.sources.predict(codes, scaled)))

    def _masked(self, points: Points) -> Points:
        """Points without the predictions of sources that mislead."""
        if points.predicted is None or not self._used.any():
            return Points(points.codes, points.costs)
        masked = zip(points.uncertain, self._used, strict=True)
        return points._replace(
            predicted=points.predicted * self._used,
            uncertain=tuple(one if used else None for one, used in masked),
        )

    def _which_used(self, codes: Sequence[Code], errors: Array) -> Array:
        """1 for each source whose predictions rise with the log errors of trials, else 0.

        What both owe to a linear trend in log cost is taken from them before, because any source
        knows that an expensive architecture is better. A linear function may also fall, and would
        make something of a source that is wrong about everything. But such a source knows least
        where the study's front is. Where no source is used, the model is that of a cold start.
        """
        if not self.sources.models:
            return self._used
        scaled = self._scale(self._costs(codes))
        predicted, _ = self.sources.predict(codes, scaled)
        columns = np.column_stack([np.log(np.maximum(errors, 1e-6)), predicted])
        trend = np.column_stack([np.ones(len(codes)), scaled.mean(axis=1)])
        columns = columns - trend @ np.linalg.lstsq(trend, columns, rcond=None)[0]
        columns /= np.maximum(np.sqrt((columns**2).sum(axis=0)), 1e-12)
        used: Array = (columns[:, 1:].T @ columns[:, 0] > MIN_CORRELATION).astype(np.float64)
        return used

    def source_start(
        self, history: History, untried: Sequence[int], *, front_only: bool
    ) -> Code | None:
        """The code to try next by what the sources know alone, see `FittedSources`.

        With `front_only` it is None where a source seems to mislead.
        """
        trials, errors = _finished(history.ended)
        if front_only and not self._which_used([t.code for t in trials], errors).all():
            return None
        taken = [*(trial.code for trial in history.ended), *history.pending]
        return self.sources.start(untried, history.tried, taken, front_only=front_only)

    def _scale(self, costs: Array) -> Array:
        """Standardised costs, [N, costs], of log10 costs."""
        scaled: Array = (costs - self._centre) / self._spread
        return scaled

    def _costs(self, codes: Sequence[Code]) -> Array:
        """[N, costs], log10; N may be 0."""
        return self._candidates.costs(codes).reshape(len(codes), len(self._centre))

    def condition(self, history: History) -> Posteriors:
        """Condition on finished, stopped and pending trials.

        Pending trials enter with their predicted values, which only reduces the variance near
        them, so that the next suggestion complements them.

        Raises:
            FitError: numerical failure; the next call fits from scratch.
        """
        posteriors = self._refit(history)
        final = self.final_errors(history.ended)
        transforms = posteriors.transforms
        targets = np.stack([t.targets(final.errors, final.denoised) for t in transforms])
        extra = np.stack([t.variances(final.denoised, final.log_variances) for t in transforms])
        posteriors.observe(self.points([*final.codes, *history.pending]), targets, extra)
        return posteriors

    def final_errors(self, ended: Sequence[EndedTrial]) -> FinalErrors:
        """Finished trials as measured, then the stopped trials that have a forecast."""
        finished, errors = _finished(ended)
        stopped = [trial for trial in ended if trial.error is None]
        costs = self._costs([trial.code for trial in finished])
        denoised, log_variances = self._noise.denoise(costs, errors)
        rows, mean, variance = forecast_final_errors(
            self._curves(stopped),
            self._curves(finished),
            errors,
            min_error=smallest_error(self._images, errors),
            min_forecast=max(
                1e-4, denoised.min()
            ),  # the outcome transform depends on the lowest error
        )
        return FinalErrors(
            [trial.code for trial in (*finished, *(stopped[row] for row in rows))],
            np.append(errors, np.exp(mean)),
            np.append(denoised, np.exp(mean)),
            np.append(log_variances, variance),
        )

    def _curves(self, ended: Sequence[EndedTrial]) -> CurvesWithCosts:
        costs = self._costs([trial.code for trial in ended])
        return CurvesWithCosts(costs, [trial.curve for trial in ended])

    def _refit(self, history: History) -> Posteriors:
        """Posteriors whose hyperparameters are fitted on the trials that `fit_size` tells."""
        finished = [i for i, trial in enumerate(history.ended, 1) if trial.error is not None]
        size = max(fit_size(len(history.ended)), finished[MIN_FINISHED - 1])
        fitted = tuple(history.ended[:size])
        if fitted == self._fitted and self._posteriors is not None:
            return self._posteriors
        self._posteriors = None
        trials, errors = _finished(fitted)
        self._noise = BinomialNoise(self._costs([t.code for t in trials]), errors, self._images)
        final = self.final_errors(fitted)
        rows = near_front_and_random(
            self._costs(final.codes),
            final.denoised,
            MAX_FITTED,
            np.random.default_rng([self._seed, 2, len(final.codes)]),
        )
        codes = [final.codes[row] for row in rows]
        self._used = self._which_used(codes, final.denoised[rows])
        points = self.points(codes)
        kernel, gap = self._kernel, SOURCE_GAP
        if not self._used.any():
            kernel, gap = self._cold_kernel, GAP
        family = OutcomeTransformFamily(
            final.errors[rows], final.denoised[rows], final.log_variances[rows], gap
        )
        rng = np.random.default_rng([self._seed, 4, size])
        draws = next((count for most, count in self._hmc_draws if len(rows) <= most), 0)
        samples = fit(kernel, points, family, draws, rng)
        exact = self._images is None
        posteriors = Posteriors(kernel, samples, self._masked(self._pool), exact=exact)
        self._fitted, self._posteriors = fitted, posteriors
        return self._posteriors


def _finished(ended: Sequence[EndedTrial]) -> tuple[list[EndedTrial], Array]:
    """The finished trials, and their measured errors."""
    finished = [trial for trial in ended if trial.error is not None]
    return finished, np.array([trial.error for trial in finished], dtype=np.float64)
