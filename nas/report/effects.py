"""The effect of a choice on accuracy at equal cost, with its uncertainty.

Only networks that were trained to the end count. The search selected them, so they are no
random sample of the space; the report says so beside these numbers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from nas.report.analysis import StudyData

Array = NDArray[np.float64]

FEWEST_NETWORKS = 20  # in a range of cost; ranges with fewer are left out
FEWEST_OF_A_KIND = 8  # networks with DCT, and with pointwise, in the range
NETWORKS_PER_RANGE = 50
MOST_RANGES = 3
RESAMPLES = 2000
COLUMNS = 4  # of the regression: intercept, parabola, expansion
ALL_STAGES = 0

FEWEST_FOR_IMPORTANCE = 40
FOLDS = 5
SPLITS = 10  # random divisions into folds


@dataclass(frozen=True)
class Difference:
    """Accuracy of networks with DCT minus that of networks with pointwise, at equal cost."""

    stage: int  # counted from 1; ALL_STAGES for DCT in all against pointwise in all
    low: float  # cost range
    high: float
    dct: int  # networks (for all stages: those with DCT in most)
    pointwise: int
    estimate: float  # fraction; positive where DCT is better
    lower: float  # interval that holds jointly for all differences in 95 % of studies
    upper: float

    @property
    def sign(self) -> int:
        """1 where DCT is significantly more accurate, -1 where less, else 0."""
        return int(self.lower > 0) - int(self.upper < 0)


def open_stages(data: StudyData) -> list[int]:
    """Stages, from 1, in which the space leaves the expansion open."""
    return [
        index + 1
        for index, stage in enumerate(data.config.space.schema.stages)
        if len(stage.expansion) > 1
    ]


def compare_expansions(data: StudyData, seed: int = 0) -> list[Difference]:
    """DCT against pointwise, for all stages jointly and for each, by range of cost.

    Accuracy is regressed on the logarithm of the cost (a parabola) and on the expansion;
    intervals come from the Bayesian bootstrap over networks with Student's quantiles,
    Bonferroni-corrected for the number of comparisons. A range without enough networks of
    each kind is left out.
    """
    stages, trials = open_stages(data), data.finished
    if not stages or len(trials) < FEWEST_NETWORKS:
        return []
    columns = [trials[f"stage{stage}.expansion"].eq("dct").to_numpy(float) for stage in stages]
    kinds = dict(zip(stages, columns, strict=True))
    if len(stages) > 1:
        kinds = {ALL_STAGES: np.mean(columns, axis=0)} | kinds
    x = np.log(trials[data.cost].to_numpy(float))
    y = trials["accuracy"].to_numpy(float)
    ranges = int(np.clip(len(trials) // NETWORKS_PER_RANGE, 1, MOST_RANGES))
    edges = np.quantile(x, np.linspace(0, 1, ranges + 1))
    tail = 0.025 / (ranges * len(kinds))
    rng = np.random.default_rng(seed)
    differences = []
    for low, high in itertools.pairwise(edges):
        inside = (x >= low) & ((x <= high) if high == edges[-1] else (x < high))
        if inside.sum() < FEWEST_NETWORKS:
            continue
        draws = rng.standard_exponential((RESAMPLES, int(inside.sum())), dtype=np.float32)
        weights = np.vstack([np.ones(draws.shape[1], dtype=np.float32), draws])
        for stage, share in kinds.items():
            z = share[inside]
            dct, pointwise = int((z > 0.5).sum()), int((z < 0.5).sum())
            if min(dct, pointwise) < FEWEST_OF_A_KIND:
                continue
            drawn = _weighted(x[inside], y[inside], z, weights)
            estimate, half = float(drawn[0]), _half_width(drawn[1:], int(inside.sum()), tail)
            span = (float(np.exp(low)), float(np.exp(high)))
            differences.append(
                Difference(stage, *span, dct, pointwise, estimate, estimate - half, estimate + half)
            )
    return sorted(differences, key=lambda d: (d.stage, d.low))


def _half_width(drawn: Array, networks: int, tail: float) -> float:
    """Half of an interval that leaves `tail` out at each end.

    The bootstrap's spread with Student's quantile. The bootstrap's own quantiles are too narrow
    this far out and for so few networks: with them 17 of 60 synthetic studies of 150 networks
    without any difference showed one; with Student's, 12 of 240 studies of 60 to 400 networks.
    """
    freedom = networks - COLUMNS
    spread = float(drawn.std()) * networks / freedom  # as in HC3
    return float(stats.t.ppf(1 - tail, freedom) * spread)


def _weighted(x: Array, y: Array, z: Array, weights: NDArray[np.float32]) -> Array:
    """The coefficient of `z` under each row of weights."""
    x = (x - x.mean()) / (x.std() or 1.0)
    X = np.column_stack([np.ones_like(x), x, x**2, z])
    n, k = X.shape
    products = np.einsum("ni,nj->nij", X, X).reshape(n, k * k)
    columns = np.column_stack([products, X * (y - y.mean())[:, None]]).astype(np.float32)
    sums = (weights @ columns).astype(np.float64)
    left = sums[:, : k * k].reshape(-1, k, k) + 1e-9 * n * np.eye(k)
    return np.asarray(np.linalg.solve(left, sums[:, k * k :, None])[:, -1, 0])


@dataclass(frozen=True)
class ChoiceEffect:
    """The effect of one choice on accuracy at given cost."""

    name: str
    share: float  # of the variance at given cost that this choice alone explains
    spread: float  # of the share over random splits, a standard deviation
    effects: dict[str, float]  # by value: accuracy (fraction) relative to the mean


@dataclass(frozen=True)
class Importance:
    """How much the choices matter for accuracy at given cost; cross-validated."""

    choices: list[ChoiceEffect]  # most important first
    explained: float  # share of the variance at given cost that all choices explain


def importance(data: StudyData, seed: int = 0) -> Importance | None:
    """The importance of each choice at given cost; None where too few networks were trained.

    An additive ridge regression of accuracy on a parabola in the logarithm of the cost and,
    for each choice, a parabola in the logarithm of its value (an indicator for the
    expansion). The share of a choice is the growth of the cross-validated error without it.
    """
    trials = data.finished
    names = [c.name for c in data.config.space.choices if trials[c.name].nunique() > 1]
    if len(trials) < FEWEST_FOR_IMPORTANCE or not names:
        return None
    x = np.log(trials[data.cost].to_numpy(float))
    base = _standard(np.column_stack([x, x**2]))
    blocks = {name: _columns(trials[name]) for name in names}
    y = trials["accuracy"].to_numpy(float)
    y = y - y.mean()  # or the errors, differences of squares, would drown in rounding
    X = np.column_stack([np.ones_like(y), base, *blocks.values()])
    ends = 1 + base.shape[1] + np.cumsum([block.shape[1] for block in blocks.values()])
    spans = {name: range(e - blocks[name].shape[1], e) for name, e in zip(names, ends, strict=True)}
    alone = list(range(1 + base.shape[1]))
    every = list(range(X.shape[1]))
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(SPLITS):
        folds = _moments(X, y, rng.permutation(len(y)) % FOLDS)
        scale = _error(folds, alone)
        full = _error(folds, every)
        without = [_error(folds, [c for c in every if c not in spans[name]]) for name in names]
        shares.append([1 - full / scale, *((error - full) / scale for error in without)])
    mean, spread = np.mean(shares, axis=0), np.std(shares, axis=0)
    weights = _fit(X.T @ X, X.T @ y)
    choices = [
        ChoiceEffect(
            name,
            float(mean[i + 1]),
            float(spread[i + 1]),
            _effects(trials[name], block @ weights[list(spans[name])]),
        )
        for i, (name, block) in enumerate(blocks.items())
    ]
    return Importance(sorted(choices, key=lambda c: -c.share), float(mean[0]))


def _columns(values: pd.Series[Any]) -> Array:
    """A choice as columns of mean 0; rows where it has no effect are 0."""
    active = values.notna().to_numpy()
    if any(isinstance(value, str) for value in values[active]):
        first = min(values[active])
        codes: Array = np.array([[float(value == first)] for value in values])
        return _standard(codes)
    columns = np.zeros((len(values), 2))
    logs = np.log2(values[active].to_numpy(float))
    centred = logs - logs.mean()
    columns[active] = _standard(np.column_stack([centred, centred**2]))
    return columns if len(set(logs)) > 2 else columns[:, :1]


def _standard(columns: Array) -> Array:
    spread = columns.std(axis=0)
    return np.asarray((columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _fit(gram: Array, products: Array) -> Array:
    """Ridge regression from X'X and X'y; the intercept, which comes first, is not shrunk."""
    penalty = np.eye(len(gram))
    penalty[0, 0] = 0
    return np.asarray(np.linalg.solve(gram + penalty, products))


Moments = list[tuple[Array, Array, float]]
"""X'X, X'y and y'y of each fold; fits and errors on any columns follow from them."""


def _moments(X: Array, y: Array, fold: NDArray[np.int64]) -> Moments:
    parts = [(X[fold == k], y[fold == k]) for k in range(FOLDS)]
    return [(A.T @ A, A.T @ b, float(b @ b)) for A, b in parts]


def _error(folds: Moments, columns: list[int]) -> float:
    """Sum of squared errors of cross-validation with some columns."""
    pick = np.ix_(columns, columns)
    gram = np.sum([fold[0] for fold in folds], axis=0)[pick]
    products = np.sum([fold[1] for fold in folds], axis=0)[columns]
    total = 0.0
    for held, held_products, squares in folds:
        weights = _fit(gram - held[pick], products - held_products[columns])
        fitted = weights @ held[pick] @ weights - 2 * weights @ held_products[columns]
        total += squares + float(fitted)
    return max(total, 1e-12)


def _effects(values: pd.Series[Any], parts: Array) -> dict[str, float]:
    """Mean effect of each value, in the order of the values."""
    by_value = pd.Series(parts, index=values.to_numpy()).groupby(level=0, sort=True).mean()
    return {
        value if isinstance(value, str) else f"{value:g}": float(effect)
        for value, effect in by_value.items()
    }
