"""A Gaussian process of accuracy over architectures: fitting it, and its posterior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular
from scipy.optimize import minimize

from nas.samplers.anova_kernel import CHUNK, Covariance, Kernel, Points, Pullback, covariances
from nas.samplers.outcome_transform import GAP, Scale, Warp

Array = NDArray[np.float64]

ITERATIONS = 60  # of L-BFGS; most fits need half of it
TOLERANCE = 1e-4  # of a log density of some hundreds: some hundredths, which tell nothing apart
BOUND = 4.0  # prior standard deviations
LEAPS = 8  # of a Hamiltonian trajectory, from draw to draw; with half as many, they are too alike
LEAST_VARIANCE = 1e-10  # of a prediction


class Fitted(NamedTuple):
    """One set of hyper-parameters."""

    theta: Array  # of the kernel, logarithms
    scale: Scale  # of the errors


class FitError(RuntimeError):
    """The model cannot be fitted numerically."""


class Likelihood:
    """Log posterior density of hyper-parameters, up to a constant, and its gradient.

    With covariance C of the targets y and a = C^-1 y, the log likelihood is
    -(y.a + log det C) / 2, its gradient by C is (a a' - C^-1) / 2 and by y it is -a.

    Hyper-parameters are whitened here: u = (theta - prior mean) / prior deviation. The last
    one is the logarithm of the gap between the least error and the floor.

    Args:
        kernel: of the process.
        points: N architectures.
        warp: of their errors.
    """

    def __init__(self, kernel: Kernel, points: Points, warp: Warp) -> None:
        self._kernel, self._warp = kernel, warp
        self._count = len(points.codes)
        self._lower = np.tril_indices(self._count)  # of the covariance matrix, which is symmetric
        self._own = self._lower[0] == self._lower[1]
        flat = np.ravel_multi_index(self._lower, (self._count, self._count))
        pairs = kernel.pairs(points, points).part(flat)
        self._blocks = [slice(at, at + CHUNK) for at in range(0, len(flat), CHUNK)]
        self._pairs = [pairs.part(block) for block in self._blocks]
        self._rooms = [part.room() for part in self._pairs]
        self._mean = np.append(kernel.hyperparameters.prior_mean, math.log(GAP[0]))
        self._deviation = np.append(kernel.hyperparameters.prior_deviation, GAP[1])

    def __len__(self) -> int:
        """Number of hyper-parameters."""
        return len(self._mean)

    def __call__(self, u: Array) -> tuple[float, Array]:
        """Of whitened hyper-parameters: the density, and its gradient by them.

        Where the covariance is singular these are minus infinity and zeros.
        """
        every = self._mean + self._deviation * u
        entries, pullbacks = self._entries(self._kernel.at(every[:-1]))
        warped = self._warp(float(every[-1]))
        entries[self._own] += warped.variances
        matrix = np.zeros((self._count, self._count), order="F")
        matrix[self._lower] = entries
        factor, failed = lapack.dpotrf(matrix, lower=1, overwrite_a=1)
        if failed or not np.isfinite(factor[-1, -1]):  # some LAPACKs let what is no number pass
            return -np.inf, np.zeros_like(u)
        solved, _ = lapack.dpotrs(factor, warped.targets, lower=1)
        inverse, _ = lapack.dpotri(factor, lower=1)
        rows, columns = self._lower
        slopes = solved[rows] * solved[columns] - inverse[rows, columns]
        slopes[self._own] *= 0.5  # the others stand in the matrix twice
        of_gap = warped.jacobian_slope - float(solved @ warped.targets_slope)
        of_gap += float(slopes[self._own] @ warped.variances_slope)
        value = -0.5 * float(warped.targets @ solved) + warped.jacobian
        value -= float(np.log(factor.diagonal()).sum())
        by_block = zip(pullbacks, self._blocks, strict=True)
        of_theta = sum(pullback(slopes[block]) for pullback, block in by_block)
        gradient = np.append(of_theta, of_gap)
        return value - 0.5 * float(u @ u), gradient * self._deviation - u

    def _entries(self, covariance: Covariance) -> tuple[Array, list[Pullback]]:
        """Of the lower triangle, row by row, and how those of each block depend on theta."""
        entries, pullbacks = np.empty(len(self._own)), []
        for pairs, block, room in zip(self._pairs, self._blocks, self._rooms, strict=True):
            own = self._own[block]
            entries[block], pullback = covariance.with_pullback(pairs, own, room)
            pullbacks.append(pullback)
        return entries, pullbacks

    def fitted(self, u: Array) -> Fitted:
        """The hyper-parameters of a whitened vector."""
        every = self._mean + self._deviation * u
        return Fitted(every[:-1], self._warp.scale(float(every[-1])))


def fit(
    kernel: Kernel, points: Points, warp: Warp, draws: int, rng: np.random.Generator
) -> list[Fitted]:
    """Hyper-parameters: the most probable, then draws from their posterior.

    A mean over them is a better forecast than the best alone while trials are few. The
    draws come from Hamiltonian Monte Carlo, started at the mode.

    Raises:
        FitError: the covariance is singular, or a number is not finite.
    """
    density = Likelihood(kernel, points, warp)

    def loss(u: Array) -> tuple[float, Array]:
        value, gradient = density(u)
        return (-value, -gradient) if np.isfinite(value) else (1e10, gradient)

    size = len(density)
    found = minimize(
        loss,
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-BOUND, BOUND)] * size,
        options={"maxiter": ITERATIONS, "ftol": TOLERANCE},
    )
    if not np.isfinite(found.fun) or found.fun >= 1e10 or not np.isfinite(found.x).all():
        raise FitError("no hyper-parameters with a finite likelihood")
    kept, state = [density.fitted(found.x)], State(found.x, *density(found.x))
    # Likelihoods sharpen with the trials; a fixed step would be refused.
    step = 0.35 / np.sqrt(1.0 + len(points.codes) / 40.0)
    for _ in range(draws):
        state = _trajectory(density, state, step, rng)
        kept.append(density.fitted(state.u))
    return kept


class State(NamedTuple):
    """A place of the Markov chain: whitened hyper-parameters, their density, its gradient."""

    u: Array
    value: float
    gradient: Array


def _trajectory(density: Likelihood, start: State, step: float, rng: np.random.Generator) -> State:
    """One Hamiltonian step: a new state, or the old one where it is refused."""
    momentum = rng.standard_normal(len(start.u))
    energy = start.value - 0.5 * float(momentum @ momentum)
    at = start
    step *= rng.uniform(0.8, 1.2)
    for _ in range(LEAPS):
        momentum = momentum + 0.5 * step * at.gradient
        u = at.u + step * momentum
        if np.abs(u).max() > BOUND:
            return start
        at = State(u, *density(u))
        if not np.isfinite(at.value):
            return start
        momentum = momentum + 0.5 * step * at.gradient
    change = at.value - 0.5 * float(momentum @ momentum) - energy
    return at if np.log(rng.random()) < change else start


class Posteriors:
    """Predictions that follow observations as they come and go.

    There is one posterior for each set of hyper-parameters. Each keeps the Cholesky factor L
    of the observations; the first, the most probable, V = L^-1 K(observed, pool) besides.
    Observations are compared with those of the call before: what stayed at the front of the
    list is kept, only the rest is computed, at O(N * pool) a row.

    Args:
        kernel: of the process.
        fitted: S sets of hyper-parameters.
        pool: P architectures.
        exact: the kernel's noise is no luck but each architecture's own: it is part of what
            is observed, and predictions vary by it too.
    """

    def __init__(
        self, kernel: Kernel, fitted: Sequence[Fitted], pool: Points, *, exact: bool = False
    ) -> None:
        self.scales = [one.scale for one in fitted]
        self._covariances = [kernel.at(one.theta) for one in fitted]
        self._own = np.array([one.noise if exact else 0.0 for one in self._covariances])
        self._pool, self._prior = pool, self._covariances[0].diagonal(pool)
        self._rows: list[tuple[Any, ...]] = []
        self._points = pool.part(slice(0))
        self._factor = np.zeros((len(fitted), 0, 0))
        self._solved = np.zeros((len(fitted), 0))  # L^-1 targets
        self._luck = np.zeros((len(fitted), 0))  # variance of what in a target is luck
        self._buffer = np.zeros((0, len(pool.codes)))  # V in its first rows, room in the others

    def observe(self, points: Points, targets: Array, extra: Array) -> None:
        """Condition on exactly these observations.

        Args:
            points: N architectures.
            targets: [S, M], standardised, of the first M. The others are pending: they enter
                with their predicted values, which changes no mean, only variances.
            extra: [S, M], variances of the targets besides the noise.

        Raises:
            FitError: their covariance is singular.
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
        self._luck = self._luck[:, :kept]
        if kept == count:
            return
        noise = np.array([[one.noise] * (count - kept) for one in self._covariances])
        noise[:, : max(0, known - kept)] += extra[:, kept:]
        corner = covariances(self._covariances, new, new)
        side = covariances(self._covariances, old, new)
        factor = np.zeros((len(self._factor), count, count))
        factor[:, :kept, :kept] = self._factor
        solved = np.zeros((len(factor), count))  # 0 where nothing differs from what is predicted
        solved[:, :kept] = self._solved
        for i in range(len(factor)):
            side[i] = _forward(self._factor[i], side[i])
            noisy = corner[i] + np.diag(noise[i])
            block, failed = lapack.dpotrf(noisy - side[i].T @ side[i], lower=1)
            if failed or not np.isfinite(block[-1, -1]):
                raise FitError("the covariance of the observations is singular")
            factor[i, kept:, :kept], factor[i, kept:, kept:] = side[i].T, block
            if kept < known:
                unexplained = targets[i, kept:] - side[i, :, : known - kept].T @ self._solved[i]
                leading = block[: known - kept, : known - kept]
                solved[i, kept:known] = _forward(leading, unexplained)
        cross = self._covariances[0](new, self._pool) - side[0].T @ self._buffer[:kept]
        self._points, self._rows, self._factor, self._solved = points, rows, factor, solved
        self._luck = np.hstack([self._luck, noise - self._own[:, None]])
        below = _forward(factor[0, kept:, kept:], cross)
        self._buffer = _with_rows(self._buffer, kept, below)

    def smoothed(self) -> Array:
        """Mean at the observations, [S, N], as each set sees them, without their luck."""
        return np.array(
            [
                factor @ solved - luck * _forward(factor, solved, transposed=True)
                for factor, solved, luck in zip(self._factor, self._solved, self._luck, strict=True)
            ]
        )

    def predict_pool(self) -> tuple[Array, Array]:
        """Mean and variance over the pool, [P], as the first set sees them, without luck."""
        cross = self._buffer[: self._solved.shape[1]]
        return self._moments(0, cross, self._prior)

    def predict(self, points: Points, sets: slice = slice(None)) -> tuple[Array, Array]:
        """Mean and variance at N architectures, [sets, N], as some sets see them, without luck."""
        chosen = range(len(self.scales))[sets]
        cross = covariances(self._covariances[sets], self._points, points)
        found = [
            self._moments(i, _forward(self._factor[i], k), self._covariances[i].diagonal(points))
            for i, k in zip(chosen, cross, strict=True)
        ]
        return np.stack([mean for mean, _ in found]), np.stack([spread for _, spread in found])

    def _moments(self, index: int, cross: Array, prior: Array) -> tuple[Array, Array]:
        """Of one set, from L^-1 K(observed, points) and the prior variances."""
        variance = prior + self._own[index] - np.einsum("np,np->p", cross, cross)
        return self._solved[index] @ cross, np.maximum(variance, LEAST_VARIANCE)


def _with_rows(buffer: Array, kept: int, rows: Array) -> Array:
    """The first rows of a buffer with others after them, in a larger one where they do not fit.

    New memory for all of them at every observation would cost more than what is computed.
    """
    count = kept + len(rows)
    if count > len(buffer):
        larger = np.empty((2 * count, buffer.shape[1]))
        larger[:kept] = buffer[:kept]
        buffer = larger
    buffer[kept:count] = rows
    return buffer


def _forward(factor: Array, right: Array, transposed: bool = False) -> Array:
    """L^-1 right, for a lower triangular L, or L'^-1 right."""
    if not len(factor):
        return right
    solution: Array = solve_triangular(
        factor, right, trans=int(transposed), lower=True, check_finite=False
    )
    return solution
