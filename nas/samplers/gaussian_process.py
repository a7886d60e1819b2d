r"""The Gaussian process of the error model: its hyperparameters and its posterior.

With covariance C of N targets t (kernel, noise and variances of the targets), t ~ N(0, C). The
hyperparameters theta of the kernel and the gap of the outcome transform have the log posterior
density, up to a constant,

    log p = -(t' C^-1 t + log det C) / 2 + log |dt / dy| + log prior                       (1)

(Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.30) with the
Jacobian of the transform of errors y to targets t. With s = C^-1 t the first term has the gradient
(ibid., equation 5.9)

    d / dC = (s s' - C^-1) / 2,    d / dt = -s.                                            (2)

The mode of (1), the maximum a posteriori (MAP) sample, is found by L-BFGS. More samples are drawn
from it by Hamiltonian Monte Carlo (Neal, "MCMC using Hamiltonian dynamics", 2011,
arXiv 1206.1901).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular
from scipy.optimize import minimize

from nas.samplers.anova_kernel import (
    CHUNK,
    AnovaKernel,
    Covariance,
    Points,
    Pullback,
    covariances,
)
from nas.samplers.outcome_transform import GAP, OutcomeTransform, OutcomeTransformFamily

Array = NDArray[np.float64]

ITERATIONS = 60  # L-BFGS stops after so many; most fits need half
TOLERANCE = 1e-4  # L-BFGS stops when the log density improves by less, relatively
BOUND = 4.0  # hyperparameters stay within so many standard deviations of their prior
LEAPS = 8  # leapfrog steps between two draws; with half as many, draws are too alike
MIN_VARIANCE = 1e-10  # lower bound of predicted variances


class HyperparameterSample(NamedTuple):
    """One sample of all hyperparameters."""

    theta: Array  # of the kernel, logarithms
    transform: OutcomeTransform


class FitError(RuntimeError):
    """The model cannot be fitted numerically."""


class HyperparameterDensity:
    """The log posterior density (1) of the hyperparameters, and its gradient.

    Hyperparameters are whitened: u = (theta - prior mean) / prior deviation. The last one is
    the logarithm of the gap of the outcome transform.

    Args:
        kernel: of the process.
        points: N architectures.
        family: outcome transforms of their errors.
    """

    def __init__(self, kernel: AnovaKernel, points: Points, family: OutcomeTransformFamily) -> None:
        self._kernel, self._family = kernel, family
        self._count = len(points.codes)
        self._lower = np.tril_indices(self._count)  # C is symmetric: its lower triangle suffices
        self._diagonal = self._lower[0] == self._lower[1]
        flat = np.ravel_multi_index(self._lower, (self._count, self._count))
        pairs = kernel.pairs(points, points).part(flat)
        self._blocks = [slice(at, at + CHUNK) for at in range(0, len(flat), CHUNK)]
        self._pairs = [pairs.part(block) for block in self._blocks]
        self._workspaces = [part.workspace() for part in self._pairs]
        self._mean = np.append(kernel.hyperparameters.prior_mean, math.log(GAP[0]))
        self._deviation = np.append(kernel.hyperparameters.prior_deviation, GAP[1])

    def __len__(self) -> int:
        """Number of hyperparameters."""
        return len(self._mean)

    def __call__(self, u: Array) -> tuple[float, Array]:
        """The log density at u, and its gradient.

        Where C is singular they are minus infinity and zeros.
        """
        unwhitened = self._mean + self._deviation * u
        entries, pullbacks = self._entries(self._kernel.at(unwhitened[:-1]))
        transformed = self._family(float(unwhitened[-1]))
        entries[self._diagonal] += transformed.variances
        matrix = np.zeros((self._count, self._count), order="F")
        matrix[self._lower] = entries
        factor, failed = lapack.dpotrf(matrix, lower=1, overwrite_a=1)
        if failed or not np.isfinite(factor[-1, -1]):  # some LAPACKs let NaN pass
            return -np.inf, np.zeros_like(u)
        solved, _ = lapack.dpotrs(factor, transformed.targets, lower=1)
        inverse, _ = lapack.dpotri(factor, lower=1)
        rows, columns = self._lower
        slopes = solved[rows] * solved[columns] - inverse[rows, columns]  # (2)
        slopes[self._diagonal] *= 0.5  # the other entries stand in C twice
        by_gap = transformed.log_jacobian_slope - float(solved @ transformed.targets_slope)
        by_gap += float(slopes[self._diagonal] @ transformed.variances_slope)
        value = -0.5 * float(transformed.targets @ solved) + transformed.log_jacobian  # (1)
        value -= float(np.log(factor.diagonal()).sum())
        by_block = zip(pullbacks, self._blocks, strict=True)
        by_theta = sum(pullback(slopes[block]) for pullback, block in by_block)
        gradient = np.append(by_theta, by_gap)
        return value - 0.5 * float(u @ u), gradient * self._deviation - u

    def _entries(self, covariance: Covariance) -> tuple[Array, list[Pullback]]:
        """The lower triangle of C, row by row, and the pullback of each block."""
        entries, pullbacks = np.empty(len(self._diagonal)), []
        for pairs, block, workspace in zip(
            self._pairs, self._blocks, self._workspaces, strict=True
        ):
            diagonal = self._diagonal[block]
            entries[block], pullback = covariance.with_pullback(pairs, diagonal, workspace)
            pullbacks.append(pullback)
        return entries, pullbacks

    def sample(self, u: Array) -> HyperparameterSample:
        """The hyperparameters of a whitened vector."""
        unwhitened = self._mean + self._deviation * u
        transform = self._family.transform(float(unwhitened[-1]))
        return HyperparameterSample(unwhitened[:-1], transform)


def fit(
    kernel: AnovaKernel,
    points: Points,
    family: OutcomeTransformFamily,
    draws: int,
    rng: np.random.Generator,
) -> list[HyperparameterSample]:
    """Fit the hyperparameters: the MAP sample, then draws from their posterior.

    A mean over the samples predicts better than the MAP alone while trials are few. The draws
    are by Hamiltonian Monte Carlo, started at the mode.

    Raises:
        FitError: the covariance is singular, or a number is not finite.
    """
    density = HyperparameterDensity(kernel, points, family)

    def loss(u: Array) -> tuple[float, Array]:
        value, gradient = density(u)
        return (-value, -gradient) if np.isfinite(value) else (1e10, gradient)

    size = len(density)
    mode = minimize(
        loss,
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-BOUND, BOUND)] * size,
        options={"maxiter": ITERATIONS, "ftol": TOLERANCE},
    )
    if not np.isfinite(mode.fun) or mode.fun >= 1e10 or not np.isfinite(mode.x).all():
        raise FitError("no hyperparameters with a finite likelihood")
    samples, state = [density.sample(mode.x)], ChainState(mode.x, *density(mode.x))
    # The posterior sharpens with the number of trials; a fixed step would be rejected.
    step = 0.35 / np.sqrt(1.0 + len(points.codes) / 40.0)
    for _ in range(draws):
        state = _trajectory(density, state, step, rng)
        samples.append(density.sample(state.u))
    return samples


class ChainState(NamedTuple):
    """A state of the Markov chain: whitened hyperparameters, their log density, its gradient."""

    u: Array
    value: float
    gradient: Array


def _trajectory(
    density: HyperparameterDensity, start: ChainState, step: float, rng: np.random.Generator
) -> ChainState:
    """One Hamiltonian step: leapfrog, then accept the new state or keep the old one."""
    momentum = rng.standard_normal(len(start.u))
    energy = start.value - 0.5 * float(momentum @ momentum)
    state = start
    step *= rng.uniform(0.8, 1.2)
    for _ in range(LEAPS):
        momentum = momentum + 0.5 * step * state.gradient
        u = state.u + step * momentum
        if np.abs(u).max() > BOUND:
            return start
        state = ChainState(u, *density(u))
        if not np.isfinite(state.value):
            return start
        momentum = momentum + 0.5 * step * state.gradient
    change = state.value - 0.5 * float(momentum @ momentum) - energy
    return state if np.log(rng.random()) < change else start


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
        self._own = np.array([one.noise if exact else 0.0 for one in self._covariances])
        self._pool, self._prior = pool, self._covariances[0].diagonal(pool)
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
        noise = np.array([[one.noise] * (count - kept) for one in self._covariances])
        noise[:, : max(0, known - kept)] += extra[:, kept:]
        corner = covariances(self._covariances, new, new)
        side = covariances(self._covariances, old, new)
        factor = np.zeros((len(self._factor), count, count))
        factor[:, :kept, :kept] = self._factor
        solved = np.zeros((len(factor), count))  # 0 where the target is the predicted value
        solved[:, :kept] = self._solved
        for i in range(len(factor)):
            side[i] = _solve_triangular(self._factor[i], side[i])
            noisy = corner[i] + np.diag(noise[i])
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
        self._noise = np.hstack([self._noise, noise - self._own[:, None]])
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
        kernel_noise = np.array([one.noise for one in self._covariances])[:, None]
        mean, variance = self.predict(points)
        variance = variance - self._own[:, None] + own_share * kernel_noise
        gain = variance / (variance + (1 - own_share) * kernel_noise + extra)
        return mean + gain * (targets - mean), variance * (1 - gain)

    def measurement_noise(self, sample: int, own_share: float) -> Array:
        """Variances of the measurement noise of the observations, [N]; see `at_observations`."""
        kernel_noise = self._covariances[sample].noise
        noise: Array = self._noise[sample] + self._own[sample] - own_share * kernel_noise
        return np.maximum(noise, MIN_VARIANCE)

    @property
    def map_noise(self) -> float:
        """Variance of the noise of a target under the MAP sample."""
        return float(self._covariances[0].noise)

    def predict_jointly(self, points: Points) -> tuple[Array, Array]:
        """Mean, [N], and covariance, [N, N], under the MAP sample, without measurement noise."""
        cross = _solve_triangular(self._factor[0], self._covariances[0](self._points, points))
        covariance = self._covariances[0](points, points) - cross.T @ cross
        covariance[np.diag_indices_from(covariance)] += self._own[0]
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
            self._moments(
                i, _solve_triangular(self._factor[i], k), self._covariances[i].diagonal(points)
            )
            for i, k in zip(chosen, cross, strict=True)
        ]
        return np.stack([mean for mean, _ in moments]), np.stack([var for _, var in moments])

    def _moments(self, index: int, cross: Array, prior: Array) -> tuple[Array, Array]:
        """Mean and variance of a sample, from L^-1 K(observed, points) and prior variances."""
        variance = prior + self._own[index] - np.einsum("np,np->p", cross, cross)
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
