"""A Gaussian process of accuracy over architectures: fitting it, and its posterior."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from nas.search.samplers.kernel import Kernel, Points

Array = NDArray[np.float64]

ITERATIONS = 60  # of L-BFGS; most fits need half of it
BOUND = 4.0  # prior standard deviations


class FitError(RuntimeError):
    """The model cannot be fitted numerically."""


def fit(kernel: Kernel, points: Points, targets: Tensor, extra: Tensor) -> Tensor:
    """Hyper-parameters (logarithms) of the largest likelihood times prior.

    Args:
        targets: [N], standardised.
        extra: [N], variance of each target besides the common noise, which is estimated.

    Raises:
        FitError: the covariance is singular, or a number is not finite.
    """
    eye = torch.eye(len(targets), dtype=torch.float64)

    def objective(values: Array) -> tuple[float, Array]:
        theta = torch.from_numpy(values).requires_grad_(True)
        covariance = kernel(theta, points, points) + torch.diag(extra) + kernel.noise(theta) * eye
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed.item():
            return 1e10, np.zeros_like(values)
        solved = torch.cholesky_solve(targets[:, None], factor)[:, 0]
        loss = 0.5 * targets @ solved + factor.diagonal().log().sum() - kernel.log_prior(theta)
        (gradient,) = torch.autograd.grad(loss, theta)
        return float(loss.detach()), gradient.numpy()

    mean, deviation = kernel.prior_mean.numpy(), kernel.prior_deviation.numpy()
    found = minimize(
        objective,
        mean,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(mean - BOUND * deviation, mean + BOUND * deviation, strict=True)),
        options={"maxiter": ITERATIONS},
    )
    if not np.isfinite(found.fun) or found.fun >= 1e10 or not np.isfinite(found.x).all():
        raise FitError("no hyper-parameters with a finite likelihood")
    return torch.from_numpy(found.x)


class Posterior:
    """Predictions over a pool that follow observations as they come and go.

    Keeps the Cholesky factor L of the observations and V = L^-1 K(observed, pool).
    Observations are compared with those of the call before: what stayed at the front
    of the list is kept, only the rest is computed, at O(N * pool) a row.
    """

    def __init__(self, kernel: Kernel, theta: Tensor, pool: Points) -> None:
        self._kernel, self._theta, self._pool = kernel, theta, pool
        self._noise = kernel.noise(theta)
        self._prior = kernel.diagonal(theta, pool)
        self._rows: list[tuple[tuple[int, ...], float, float]] = []
        self._points = Points(pool.codes[:0], pool.costs[:0])
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
        solved, old, new = self._solved[:kept], points[slice(kept)], points[slice(kept, None)]
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
            right = self._kernel(self._theta, new, self._pool) - side.T @ cross
            grown = torch.zeros((len(rows), len(rows)), dtype=torch.float64)
            grown[:kept, :kept], grown[kept:, :kept], grown[kept:, kept:] = factor, side.T, block
            self._points, self._factor = points, grown
            self._cross = torch.cat(
                [cross, torch.linalg.solve_triangular(block, right, upper=False)]
            )
            rest = (targets[kept:] - side.T @ solved)[:, None]
            tail = torch.linalg.solve_triangular(block, rest, upper=False)[:, 0]
            self._solved = torch.cat([solved, tail])

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
