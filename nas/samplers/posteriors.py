"""Posteriors of the Gaussian process of the error model, one for each hyperparameter sample.

The hyperparameters come from `gaussian_process.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from nas.samplers.anova_kernel import AnovaKernel, covariances
from nas.samplers.gaussian_process import FitError, HyperparameterSample
from nas.samplers.points import Points

Array = NDArray[np.float64]

MIN_VARIANCE = 1e-10  # lower bound of predicted variances


class Posteriors:
    """Posteriors of the Gaussian process, updated as observations come and go.

    There is one posterior for each hyperparameter sample. Each keeps the Cholesky factor L of
    the observations; the MAP sample also keeps V = L^-1 K(observed, pool). An observation
    that was also at the same place of the list in the call before is not computed again; a
    new one costs O(N * pool).

    Args:
        kernel: of the process.
        samples: S hyperparameter samples, the MAP first.
        pool: P architectures.
        exact: errors have no measurement noise. The kernel's noise is then each
            architecture's own difference: observations and predictions include it.
    """

    def __init__(
        self,
        kernel: AnovaKernel,
        samples: Sequence[HyperparameterSample],
        pool: Points,
        *,
        exact: bool = False,
    ) -> None:
        self.transforms = [sample.transform for sample in samples]
        self._covariances = [kernel.at(sample.theta) for sample in samples]
        self._exact = exact
        self._pool, self._prior = pool, self._variances(0, pool)
        self._rows: list[tuple[Any, ...]] = []
        self._points = pool.part(slice(0))
        self._factor = np.zeros((len(samples), 0, 0))
        self._solved = np.zeros((len(samples), 0))  # L^-1 targets
        self._noise = np.zeros((len(samples), 0))  # variances of the measurement noise
        self._buffer = np.zeros((0, len(pool.codes)))  # V in its first rows, then free ones

    def observe(self, points: Points, targets: Array, extra: Array) -> None:
        """Condition on exactly these observations.

        Args:
            points: N architectures.
            targets: [S, M], standardised, of the first M. The others are pending: they enter
                with their predicted values, which changes no mean, only variances.
            extra: [S, M], variances of the targets besides the kernel's noise.

        Raises:
            FitError: the covariance of the observations is singular.
        """
        count, known = len(points.codes), targets.shape[1]
        unknown = [[None] * len(targets)] * (count - known)
        columns = points.codes.tolist(), targets.T.tolist() + unknown, extra.T.tolist() + unknown
        rows = list(zip(*columns, strict=True))
        kept = 0
        while kept < min(count, len(self._rows)) and rows[kept] == self._rows[kept]:
            kept += 1
        old, new = points.part(slice(kept)), points.part(slice(kept, None))
        self._points, self._rows = old, rows[:kept]
        self._factor, self._solved = self._factor[:, :kept, :kept], self._solved[:, :kept]
        self._noise = self._noise[:, :kept]
        if kept == count:
            return
        noise = np.array([one.noise_at(new) for one in self._covariances])
        own = noise if self._exact else np.zeros_like(noise)
        measured = noise.copy()
        measured[:, : max(0, known - kept)] += extra[:, kept:]
        corner = covariances(self._covariances, new, new)
        side = covariances(self._covariances, old, new)
        factor = np.zeros((len(self._factor), count, count))
        factor[:, :kept, :kept] = self._factor
        solved = np.zeros((len(factor), count))  # 0 where the target is the predicted value
        solved[:, :kept] = self._solved
        for i in range(len(factor)):
            side[i] = _solve_triangular(self._factor[i], side[i])
            noisy = corner[i] + np.diag(measured[i])
            block, failed = lapack.dpotrf(noisy - side[i].T @ side[i], lower=1)
            if failed or not np.isfinite(block[-1, -1]):
                raise FitError("the covariance of the observations is singular")
            factor[i, kept:, :kept], factor[i, kept:, kept:] = side[i].T, block
            if kept < known:
                unexplained = targets[i, kept:] - side[i, :, : known - kept].T @ self._solved[i]
                leading = block[: known - kept, : known - kept]
                solved[i, kept:known] = _solve_triangular(leading, unexplained)
        cross = self._covariances[0](new, self._pool) - side[0].T @ self._buffer[:kept]
        self._points, self._rows, self._factor, self._solved = points, rows, factor, solved
        self._noise = np.hstack([self._noise, measured - own])
        below = _solve_triangular(factor[0, kept:, kept:], cross)
        self._buffer = _with_rows(self._buffer, kept, below)

    def smoothed(self) -> Array:
        """Posterior means at the observations without measurement noise, [S, N]."""
        columns = zip(self._factor, self._solved, self._noise, strict=True)
        return np.array(
            [
                factor @ solved - noise * _solve_triangular(factor, solved, transposed=True)
                for factor, solved, noise in columns
            ]
        )

    def shares(self) -> Array:
        """The share of each source in the posterior mean at the observations, [sources].

        It is the covariance of the source's part with the whole over the variance of the whole,
        under the MAP sample, from 0 to 1.
        """
        weights = _solve_triangular(self._factor[0], self._solved[0], transposed=True)
        parts = self._covariances[0].shared_parts(self._points, self._points) @ weights
        whole = self._covariances[0](self._points, self._points) @ weights
        centred = whole - whole.mean()
        variance = max(float(centred @ centred), 1e-12)
        shares: Array = np.clip(parts @ centred / variance, 0.0, 1.0)
        return shares

    def at_observations(self, count: int, own_share: float) -> tuple[Array, Array]:
        """Joint posterior of the first observations without measurement noise.

        With t the targets, C their covariance and D the diagonal matrix of the variances of
        measurement noise, the mean is t - D C^-1 t and the covariance D - D C^-1 D.

        Args:
            count: N, of the observations that are wanted.
            own_share: of the kernel's noise, that is each architecture's own difference and not
                measurement noise.

        Returns:
            Means, [S, N], and covariances, [S, N, N].
        """
        means, joint = [], []
        for i, factor in enumerate(self._factor):
            noise = self.measurement_noise(i, own_share)[:count]
            inverse, _ = lapack.dpotri(factor, lower=1)
            inverse = np.tril(inverse)[:count, :count]
            inverse = inverse + np.tril(inverse, -1).T
            weights = _solve_triangular(factor, self._solved[i], transposed=True)[:count]
            means.append((factor @ self._solved[i])[:count] - noise * weights)
            joint.append(np.diag(noise) - noise[:, None] * inverse * noise)
        return np.array(means), np.array(joint)

    def with_own_target(
        self, points: Points, targets: Array, extra: Array, own_share: float
    ) -> tuple[Array, Array]:
        """Posterior at architectures outside of the observations, each beside its own target.

        Args:
            points: N architectures.
            targets: [S, N], of these.
            extra: [S, N], variances of the targets besides the kernel's noise.
            own_share: see `at_observations`.

        Returns:
            Means and variances without measurement noise, [S, N] each.
        """
        kernel_noise = np.array([one.noise_at(points) for one in self._covariances])
        mean, variance = self.predict(points)
        variance = variance - (kernel_noise if self._exact else 0.0) + own_share * kernel_noise
        gain = variance / (variance + (1 - own_share) * kernel_noise + extra)
        return mean + gain * (targets - mean), variance * (1 - gain)

    def measurement_noise(self, sample: int, own_share: float) -> Array:
        """Variances of the measurement noise of the observations, [N]; see `at_observations`."""
        kernel_noise = self._covariances[sample].noise_at(self._points)
        own = kernel_noise if self._exact else 0.0
        noise: Array = self._noise[sample] + own - own_share * kernel_noise
        return np.maximum(noise, MIN_VARIANCE)

    def map_noise(self, points: Points) -> Array:
        """Variances of the noise of targets at N architectures under the MAP sample, [N]."""
        return self._covariances[0].noise_at(points)

    def predict_jointly(self, points: Points) -> tuple[Array, Array]:
        """Mean, [N], and covariance, [N, N], under the MAP sample, without measurement noise."""
        cross = _solve_triangular(self._factor[0], self._covariances[0](self._points, points))
        covariance = self._covariances[0](points, points) - cross.T @ cross
        if self._exact:
            covariance[np.diag_indices_from(covariance)] += self.map_noise(points)
        return self._solved[0] @ cross, covariance

    def predict_pool(self) -> tuple[Array, Array]:
        """Posterior mean and variance over the pool, [P] each, of the MAP sample."""
        cross = self._buffer[: self._solved.shape[1]]
        return self._moments(0, cross, self._prior)

    def predict(self, points: Points, samples: slice = slice(None)) -> tuple[Array, Array]:
        """Posterior mean and variance at N architectures, [samples, N] each."""
        chosen = range(len(self.transforms))[samples]
        cross = covariances(self._covariances[samples], self._points, points)
        moments = [
            self._moments(i, _solve_triangular(self._factor[i], k), self._variances(i, points))
            for i, k in zip(chosen, cross, strict=True)
        ]
        return np.stack([mean for mean, _ in moments]), np.stack([var for _, var in moments])

    def _variances(self, index: int, points: Points) -> Array:
        """Prior variances of a sample at N architectures, with their own differences, [N]."""
        variances, one = self._covariances[index].diagonal(points), self._covariances[index]
        return variances + one.noise_at(points) if self._exact else variances

    def _moments(self, index: int, cross: Array, prior: Array) -> tuple[Array, Array]:
        """Mean and variance of a sample, from L^-1 K(observed, points) and prior variances."""
        variance = prior - np.einsum("np,np->p", cross, cross)
        return self._solved[index] @ cross, np.maximum(variance, MIN_VARIANCE)


def _with_rows(buffer: Array, kept: int, rows: Array) -> Array:
    """A buffer with `rows` written after its first `kept` ones, enlarged where necessary.

    Allocating it anew at every observation would cost more than the computation.
    """
    count = kept + len(rows)
    if count > len(buffer):
        larger = np.empty((2 * count, buffer.shape[1]))
        larger[:kept] = buffer[:kept]
        buffer = larger
    buffer[kept:count] = rows
    return buffer


def _solve_triangular(factor: Array, right: Array, transposed: bool = False) -> Array:
    """L^-1 right for a lower triangular L, or L'^-1 right."""
    if not len(factor):
        return right
    solution: Array = solve_triangular(
        factor, right, trans=int(transposed), lower=True, check_finite=False
    )
    return solution
