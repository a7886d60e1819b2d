"""A Gaussian process of accuracy over architectures: fitting it, and its posterior."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from nas.search.samplers.kernel import Kernel, Points
from nas.search.samplers.scale import GAP, Scale, Warp

Array = NDArray[np.float64]

ITERATIONS = 60  # of L-BFGS; most fits need half of it
BOUND = 4.0  # prior standard deviations
LEAPS = 4  # of a Hamiltonian trajectory
CHUNK = 512  # rows of the pool at a time, so that what is computed stays in the cache
THIN = 2  # trajectories between two draws that are kept


class Fitted(NamedTuple):
    """One set of hyper-parameters."""

    theta: Tensor  # of the kernel, logarithms
    scale: Scale  # of the errors


class FitError(RuntimeError):
    """The model cannot be fitted numerically."""


class Likelihood:
    """Log posterior density of hyper-parameters, up to a constant, and its gradient.

    Hyper-parameters are whitened here: u = (theta - prior mean) / prior deviation.

    The last one is the logarithm of the gap between the least error and the floor.

    Args:
        kernel: of the process.
        points: N architectures.
        warp: of their errors.
    """

    def __init__(self, kernel: Kernel, points: Points, warp: Warp) -> None:
        self._kernel, self._points, self._warp = kernel, points, warp
        self._eye = torch.eye(len(points.codes), dtype=torch.float64)
        gap = torch.tensor([math.log(GAP[0]), GAP[1]], dtype=torch.float64)
        self._mean = torch.cat([kernel.prior_mean, gap[:1]])
        self._deviation = torch.cat([kernel.prior_deviation, gap[1:]])

    def __len__(self) -> int:
        """Number of hyper-parameters."""
        return len(self._mean)

    def __call__(self, u: Array) -> tuple[float, Array]:
        """Minus infinity and no gradient where the covariance is singular."""
        every = (self._mean + self._deviation * torch.from_numpy(u)).requires_grad_(True)
        theta = every[:-1]
        covariance = self._kernel(theta, self._points, self._points)
        factor, failed = torch.linalg.cholesky_ex(
            covariance + self._kernel.noise(theta) * self._eye
        )
        if failed.item():
            return -np.inf, np.zeros_like(u)
        targets, jacobian = self._warp(every[-1])
        solved = torch.cholesky_solve(targets[:, None], factor)[:, 0]
        likelihood = -0.5 * targets @ solved - factor.diagonal().log().sum() + jacobian
        (gradient,) = torch.autograd.grad(likelihood, every)
        whitened = (gradient * self._deviation).numpy() - u
        return float(likelihood.detach()) - 0.5 * float(u @ u), whitened

    def fitted(self, u: Array) -> Fitted:
        """The hyper-parameters of a whitened vector."""
        every = self._mean + self._deviation * torch.from_numpy(u)
        return Fitted(every[:-1], self._warp.scale(float(every[-1])))


def fit(
    kernel: Kernel, points: Points, errors: Array, draws: int, rng: np.random.Generator
) -> list[Fitted]:
    """Hyper-parameters: the most probable, then draws from their posterior.

    A mean over them is a better forecast than the best alone while trials are few. The
    draws come from Hamiltonian Monte Carlo, started at the mode.

    Raises:
        FitError: the covariance is singular, or a number is not finite.
    """
    density = Likelihood(kernel, points, Warp(errors))

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
        options={"maxiter": ITERATIONS},
    )
    if not np.isfinite(found.fun) or found.fun >= 1e10 or not np.isfinite(found.x).all():
        raise FitError("no hyper-parameters with a finite likelihood")
    kept, u = [density.fitted(found.x)], found.x
    # Likelihoods sharpen with the trials; a fixed step would be refused.
    step = 0.35 / np.sqrt(1.0 + len(errors) / 40.0)
    for _ in range(draws):
        for _ in range(THIN):
            u = _trajectory(density, u, step, rng)
        kept.append(density.fitted(u))
    return kept


def _trajectory(density: Likelihood, u: Array, step: float, rng: np.random.Generator) -> Array:
    """One Hamiltonian step: a new vector, or the old one where it is refused."""
    value, gradient = density(u)
    momentum = rng.standard_normal(len(u))
    energy = value - 0.5 * float(momentum @ momentum)
    at = u
    step *= rng.uniform(0.8, 1.2)
    for _ in range(LEAPS):
        momentum = momentum + 0.5 * step * gradient
        at = at + step * momentum
        value, gradient = density(at)
        if not np.isfinite(value) or np.abs(at).max() > BOUND:
            return u
        momentum = momentum + 0.5 * step * gradient
    change = value - 0.5 * float(momentum @ momentum) - energy
    return at if np.log(rng.random()) < change else u


class Posterior:
    """Predictions over a pool that follow observations as they come and go.

    Keeps the Cholesky factor L of the observations and V = L^-1 K(observed, pool).
    Observations are compared with those of the call before: what stayed at the front
    of the list is kept, only the rest is computed, at O(N * pool) a row.
    """

    def __init__(self, kernel: Kernel, fitted: Fitted, pool: Points) -> None:
        self._kernel, self._theta, self._pool = kernel, fitted.theta, pool
        self.scale = fitted.scale
        self._noise = kernel.noise(self._theta)
        self._prior = kernel.diagonal(self._theta, pool)
        self._rows: list[tuple[tuple[int, ...], float, float]] = []
        self._points = pool.part(slice(0))
        self._factor = torch.zeros((0, 0), dtype=torch.float64)
        self._solved = torch.zeros(0, dtype=torch.float64)  # L^-1 targets
        self._cross = torch.zeros((0, len(pool.codes)), dtype=torch.float64)  # V

    def observe(self, points: Points, targets: Tensor, extra: Tensor) -> None:
        """Condition on exactly these observations.

        Raises:
            FitError: their covariance is singular.
        """
        codes = [tuple(code) for code in points.codes.tolist()]
        rows = list(zip(codes, targets.tolist(), extra.tolist(), strict=True))
        kept = 0
        while kept < min(len(rows), len(self._rows)) and rows[kept] == self._rows[kept]:
            kept += 1
        self._rows = rows
        factor, cross = self._factor[:kept, :kept], self._cross[:kept]
        solved, old, new = (
            self._solved[:kept],
            points.part(slice(kept)),
            points.part(slice(kept, None)),
        )
        self._points, self._factor, self._cross, self._solved = old, factor, cross, solved
        if kept == len(rows):
            return
        with torch.no_grad():
            corner = self._kernel(self._theta, new, new) + torch.diag(extra[kept:] + self._noise)
            side = torch.linalg.solve_triangular(
                factor, self._kernel(self._theta, old, new), upper=False
            )
            block, failed = torch.linalg.cholesky_ex(corner - side.T @ side)
            if failed.item():
                raise FitError("the covariance of the observations is singular")
            right = self._over_pool(new) - side.T @ cross
            grown = torch.zeros((len(rows), len(rows)), dtype=torch.float64)
            grown[:kept, :kept], grown[kept:, :kept], grown[kept:, kept:] = factor, side.T, block
            self._points, self._factor = points, grown
            self._cross = torch.cat(
                [cross, torch.linalg.solve_triangular(block, right, upper=False)]
            )
            rest = (targets[kept:] - side.T @ solved)[:, None]
            tail = torch.linalg.solve_triangular(block, rest, upper=False)[:, 0]
            self._solved = torch.cat([solved, tail])

    def _over_pool(self, points: Points) -> Tensor:
        """Covariances of points with the pool, [N, pool]."""
        covariances = torch.empty(len(points.codes), len(self._prior), dtype=torch.float64)
        for start in range(0, len(self._prior), CHUNK):
            rows = slice(start, start + CHUNK)
            covariances[:, rows] = self._kernel(self._theta, points, self._pool.part(rows))
        return covariances

    def predict(self) -> tuple[Array, Array]:
        """Mean and variance over the pool, without noise."""
        mean = self._solved @ self._cross
        variance = (self._prior - (self._cross * self._cross).sum(0)).clamp_min(1e-10)
        return mean.numpy(), variance.numpy()

    def predict_at(self, points: Points) -> tuple[Array, Array]:
        """Mean and variance at points outside the pool."""
        with torch.no_grad():
            cross = torch.linalg.solve_triangular(
                self._factor, self._kernel(self._theta, self._points, points), upper=False
            )
            variance = self._kernel.diagonal(self._theta, points) - (cross * cross).sum(0)
        return (self._solved @ cross).numpy(), variance.clamp_min(1e-10).numpy()
