"""The sampler that knows the cost: only accuracy is modelled, all of the rest is exact."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from nas.search.pareto import non_dominated
from nas.search.samplers.candidates import CLIMBERS, Candidates, Costs
from nas.search.samplers.encoding import Code, Encoding
from nas.search.samplers.history import History, read
from nas.search.samplers.improvement import cut, expected_improvement
from nas.search.samplers.kernel import Points
from nas.search.samplers.model import LEAST, ErrorModel
from nas.search.samplers.parameters import SpaceExhausted, distribution
from nas.search.samplers.start import spread_start
from nas.search.samplers.surrogate import FitError, Posterior
from nas.space import Choice
from nas.threads import cpu_threads

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

START = 6  # trials before the model takes over
ROUNDS = 3  # of hill climbing on the improvement, at most
SCREENED = 100  # candidates of a round that all views look at, chosen by the first view
REFERENCE_PERCENTILE = 90  # of the predicted errors: worse ones bound no hypervolume


class KnownCostSampler(optuna.samplers.BaseSampler):
    """Expected hypervolume improvement with exact costs; for any Optuna study.

    One objective of the study has to be learned (accuracy, a fraction to maximise, or an
    error to minimise); the others are costs to minimise that a function of the
    parameters gives. An objective that is neither (a measured latency) is left out: the
    front is then sought over the ones given here.

    What it suggests depends on its arguments and the study's contents alone. Nothing that
    was tried or is running is suggested again; the trial's parameters are suggested with
    `distribution(choice)`, choices without effect left out.

    Args:
        choices: the space; conditions come before what depends on them.
        costs: values of the known objectives for a setting.
        seed: of everything random.
        objective: position of the objective that is learned.
        limits: the largest value of each known objective, None where there is none.
        feasible: False for settings that must not be suggested.
        identity: equal for settings that build the same architecture; default: all differ.
        images: of the validation split, where the objective is a share of them: their number
            tells how much of an accuracy is luck. None: accuracies are taken as exact.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        costs: Costs,
        *,
        seed: int = 0,
        objective: int = 0,
        limits: Sequence[float | None] | None = None,
        feasible: Callable[[Mapping[str, Any]], bool] | None = None,
        identity: Callable[[Mapping[str, Any]], Hashable] | None = None,
        images: int | None = None,
    ) -> None:
        if not choices:
            raise ValueError("choices: none; accepted: at least one")
        self._choices = tuple(choices)
        self._seed, self._objective, self._images = seed, objective, images
        self._make = partial(
            Candidates,
            Encoding(self._choices),
            costs,
            limits=limits,
            feasible=feasible,
            identity=identity,
        )
        self._candidates: Candidates | None = None
        self._model: ErrorModel | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All choices that have more than one value."""
        return {c.name: distribution(c) for c in self._choices if len(c.values) > 1}

    @cpu_threads(1)  # where trials keep the other cores busy, threads wait for each other
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of all choices that have an effect.

        Raises:
            SpaceExhausted: nothing within the limits is left.
        """
        if "fixed_params" in trial.system_attrs:
            return {}  # queued by somebody: what is not given is drawn
        candidates = self._candidates or self._draw(0)
        history = read(study, trial.number, candidates, self._objective)
        free = candidates.untried(history.tried)
        if not free and not candidates.whole:  # a large space, its pool used up: another one
            candidates = self._draw(trial.number)
            free = candidates.untried(history.tried)
        if not free:
            raise SpaceExhausted(
                f"every architecture within the limits was tried ({len(history.tried)})"
            )
        rng = np.random.default_rng([self._seed, 3, trial.number])
        code = self._suggest(candidates, history, free, rng)
        setting = candidates.encoding.decode(code)
        return {name: value for name, value in setting.items() if name in search_space}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Uniform: for parameters that are not choices, and for queued trials' gaps."""
        seed = zlib.crc32(f"{self._seed}:{trial.number}:{param_name}".encode())
        sampler = optuna.samplers.RandomSampler(seed=seed)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _draw(self, draw: int) -> Candidates:
        """The candidates; those of a large space differ from draw to draw."""
        self._candidates, self._model = self._make(seed=[self._seed, 0, draw]), None
        return self._candidates

    def _suggest(
        self,
        candidates: Candidates,
        history: History,
        free: list[int],
        rng: np.random.Generator,
    ) -> Code:
        if history.started >= START and len(history.finished) >= LEAST:
            try:
                if self._model is None:
                    self._model = ErrorModel(candidates, self._seed, self._images)
                return self._best(candidates, self._model, history, free, rng)
            except FitError as error:
                self._model = None
                _log.warning("known-cost: %s; this trial is a spread one instead", error)
        taken = [*(trial.code for trial in history.ended), *history.pending]
        return candidates.codes[spread_start(candidates, free, taken, self._seed)]

    @staticmethod
    def _best(
        candidates: Candidates,
        model: ErrorModel,
        history: History,
        free: list[int],
        rng: np.random.Generator,
    ) -> Code:
        """The candidate of the largest expected improvement."""
        views = [
            _View(model, posterior, history, candidates) for posterior in model.condition(history)
        ]
        costs = candidates.base_costs[free]
        value = np.mean([view.of_pool(costs, free) for view in views], axis=0)
        best = candidates.codes[free[int(value.argmax())]]
        if candidates.whole:
            return best
        top = [candidates.codes[free[i]] for i in np.argsort(-value, kind="stable")[:CLIMBERS]]
        found: dict[Code, float] = {best: float(value.max())}
        front = dict.fromkeys(code for view in views for code in view.front)
        wanted = [*candidates.around(list(front), rng), *candidates.neighbours(top, rng)]
        for _ in range(ROUNDS):
            before = max(found.values())
            new = [c for c in wanted if c not in found and not candidates.tried(c, history.tried)]
            if not new:
                break
            first = views[0].of(model.points(new), candidates.costs(new))
            new = [new[i] for i in np.argsort(-first, kind="stable")[:SCREENED]]
            points, costs = model.points(new), candidates.costs(new)
            gains = np.mean([view.of(points, costs) for view in views], axis=0)
            found.update(zip(new, gains.tolist(), strict=True))
            if max(found.values()) <= before:
                break
            climbers = sorted(found, key=lambda code: -found[code])[:CLIMBERS]
            wanted = candidates.neighbours(climbers, rng)
        return max(found, key=lambda code: found[code])


class _View:
    """Improvement as one set of hyper-parameters sees it, the front through the noise.

    The front is made of predictions at what was trained or is running, not of what was
    measured: a lucky measurement would hide what is really better.
    """

    def __init__(
        self, model: ErrorModel, posterior: Posterior, history: History, candidates: Candidates
    ) -> None:
        self._scale, self._posterior = posterior.scale, posterior
        self._mean, self._deviation = self._rescale(*posterior.predict())
        codes = [*history.finished, *history.pending]
        believed, _ = self._rescale(*posterior.predict_at(model.points(codes)))
        errors = np.exp(believed) + self._scale.floor
        costs = candidates.costs(codes)
        predicted = np.exp(self._mean) + self._scale.floor
        worst = np.percentile(predicted, REFERENCE_PERCENTILE)
        keep = non_dominated(np.column_stack([costs, errors]))
        self.front = [code for code, kept in zip(codes, keep, strict=True) if kept]
        reference = [*candidates.base_costs.max(axis=0), worst]
        self._cells = cut(costs[keep], errors[keep], reference)

    def of_pool(self, costs: Array, rows: list[int]) -> Array:
        """Improvements of rows of the pool, whose costs are given."""
        return self._improvement(costs, self._mean[rows], self._deviation[rows])

    def of(self, points: Points, costs: Array) -> Array:
        """Improvements of points that are not of the pool."""
        return self._improvement(costs, *self._rescale(*self._posterior.predict_at(points)))

    def _improvement(self, costs: Array, mean: Array, deviation: Array) -> Array:
        gain = expected_improvement(self._cells, costs, mean, deviation, floor=self._scale.floor)
        # Where nothing is expected to improve, look where least is known.
        return gain + 1e-15 * deviation

    def _rescale(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of log(error - floor)."""
        scale = self._scale
        return mean * scale.deviation + scale.mean, np.sqrt(variance) * scale.deviation
