r"""The hyperparameters of the Gaussian process of the error model.

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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize

from nas.samplers.anova_kernel import CHUNK, AnovaKernel, Covariance, Pullback
from nas.samplers.outcome_transform import OutcomeTransform, OutcomeTransformFamily
from nas.samplers.points import Points

Array = NDArray[np.float64]

ITERATIONS = 60  # L-BFGS stops after so many; most fits need half
TOLERANCE = 1e-4  # L-BFGS stops when the log density improves by less, relatively
BOUND = 4.0  # hyperparameters stay within so many standard deviations of their prior
LEAPS = 8  # leapfrog steps between two draws; with half as many, draws are too alike


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
        self._mean = np.append(kernel.hyperparameters.prior_mean, math.log(family.gap[0]))
        self._deviation = np.append(kernel.hyperparameters.prior_deviation, family.gap[1])

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
