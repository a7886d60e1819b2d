r"""What a source predicts: the posterior of its errors at any architecture.

A Gaussian process with the ANOVA kernel is fitted to the results of the source alone, among them
forecasts of trials that were stopped early: without these a source would not know what is bad. Its
posterior, with mean m and covariance K in units of the deviation of the source's targets, tells the
part of the error that the new study may share with the source: an unknown multiple of the source's
error plus an unknown constant, which adds b (1 + m m' + K) to the covariance of the new study's
targets, as in a linear model of coregionalisation (Alvarez, Rosasco and Lawrence, "Kernels for
vector-valued functions", 2012, arXiv 1106.6251, section 4). The factor b is one of the new study's
hyperparameters, so a source that misleads has a factor near 0 after a few trials. K is large where
the source knows little: without it the new study would never try what its source took for bad.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

from nas.samplers.anova_kernel import AnovaKernel, Covariance
from nas.samplers.binomial_noise import BinomialNoise
from nas.samplers.gaussian_process import FitError, fit
from nas.samplers.informative import near_front_and_random
from nas.samplers.outcome_transform import OutcomeTransformFamily
from nas.samplers.points import Points
from nas.samplers.sources import Description, DescriptionEncoding, Source

Array = NDArray[np.float64]

MAX_FITTED = 200  # trials that the hyperparameters of a source are fitted on
MAX_OBSERVED = 400  # trials that its posterior is conditioned on
BLOCK = 2048  # architectures predicted at once, to bound the memory


class SourceModel:
    """The posterior of a source.

    Args:
        source: its results.
        described: descriptions of the new study's candidates, from which values are taken too.
        scale: standardises log10 costs, [N, costs], as the new study's model does.
        seed: selects the trials where a source has many.

    Raises:
        FitError: numerical failure, or too few results.
    """

    def __init__(
        self,
        source: Source,
        described: Sequence[Description],
        scale: Callable[[Array], Array],
        seed: int,
    ) -> None:
        self.name = source.name
        rng = np.random.default_rng([seed, 5])
        self._encoding = DescriptionEncoding([*source.descriptions, *described])
        if not self._encoding.choices:
            raise FitError(f"source {source.name}: all architectures are described alike")
        errors = np.asarray(source.errors, dtype=np.float64)
        costs = np.log10(np.asarray(source.costs, dtype=np.float64))
        forecast = np.asarray(source.log_variances or np.zeros(len(errors)), dtype=np.float64)
        measured = forecast == 0
        binomial = BinomialNoise(costs[measured], errors[measured], source.images)
        denoised, log_variances = binomial.denoise(costs, errors)
        # The outcome transform depends on the lowest error, which is to be a measured one.
        errors = np.where(measured, errors, np.maximum(errors, denoised[measured].min()))
        denoised = np.where(measured, denoised, errors)
        log_variances = np.where(measured, log_variances, forecast)
        rows = near_front_and_random(costs, denoised, MAX_OBSERVED, rng)
        errors, denoised, log_variances = errors[rows], denoised[rows], log_variances[rows]
        codes = self._encoding.array([source.descriptions[row] for row in rows])
        self._observed = Points(codes, scale(costs[rows]))
        few = np.sort(rng.permutation(len(rows))[:MAX_FITTED])
        kernel = AnovaKernel(self._encoding.choices, tilted=True)
        family = OutcomeTransformFamily(errors[few], denoised[few], log_variances[few])
        fitted = Points(self._observed.codes[few], self._observed.costs[few])
        sample = fit(kernel, fitted, family, 0, rng)[0]
        self._transform, self._kernel = sample.transform, kernel.at(sample.theta)
        # Errors without measurement noise: the kernel's noise is each architecture's own.
        noise = self._kernel.noise_at(self._observed)
        self._own = noise if source.images is None else np.zeros(len(noise))
        targets = self._transform.targets(errors, denoised)
        variances = noise + self._transform.variances(denoised, log_variances)
        covariance = self._kernel(self._observed, self._observed) + np.diag(variances)
        try:
            self._factor = cholesky(covariance, lower=True)
            self._weights = cho_solve((self._factor, True), targets)
        except np.linalg.LinAlgError:
            raise FitError(f"source {source.name}: the covariance is singular") from None
        self._place = {tuple(code): row for row, code in enumerate(codes.tolist())}

    def predict(
        self, descriptions: Sequence[Description], costs: Array
    ) -> tuple[Array, SourcePosterior]:
        """The posterior mean at N architectures, [N], and the posterior covariance with them.

        Args:
            descriptions: of N architectures.
            costs: [N, costs], standardised log costs.
        """
        points = Points(self._encoding.array(descriptions), costs)
        mean = np.zeros(len(descriptions))
        whitened = np.zeros((len(descriptions), len(self._weights)))
        for start in range(0, len(mean), BLOCK):
            part = slice(start, start + BLOCK)
            cross = self._kernel(self._observed, points.part(part))
            mean[part] = self._weights @ cross
            whitened[part] = solve_triangular(self._factor, cross, lower=True).T
        if self._own.any():
            rows = np.array([self._place.get(tuple(code), -1) for code in points.codes.tolist()])
            mean += np.where(rows >= 0, (self._own * self._weights)[rows], 0.0)
        return mean, SourcePosterior(self._kernel, points, whitened)

    def errors(self, predicted: Array) -> Array:
        """Errors of the source, [N], whose posterior means are `predicted`, [N]."""
        return self._transform.errors(predicted)


@dataclass(frozen=True)
class SourcePosterior:
    """The posterior covariance of a source with N architectures, without their own differences."""

    kernel: Covariance
    points: Points  # in the source's terms
    whitened: Array  # [N, observed], from the Cholesky factor L of the observations: (L^-1 K)'

    def part(self, rows: slice) -> SourcePosterior:
        """With some of the architectures."""
        return SourcePosterior(self.kernel, self.points.part(rows), self.whitened[rows])

    def between(self, other: SourcePosterior) -> Array:
        """Between these architectures and M others, [N, M]."""
        covariance: Array = self.kernel(self.points, other.points)
        return covariance - self.whitened @ other.whitened.T

    def variances(self) -> Array:
        """Of these architectures, [N]."""
        explained = np.einsum("np,np->n", self.whitened, self.whitened)
        left: Array = self.kernel.diagonal(self.points) - explained
        return np.maximum(left, 0.0)
