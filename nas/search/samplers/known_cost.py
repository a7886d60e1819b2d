"""The sampler that knows the cost: only accuracy is modelled, all of the rest is exact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
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
from nas.search.samplers.improvement import Cells, cut, expected_improvement
from nas.search.samplers.model import LEAST, ErrorModel
from nas.search.samplers.parameters import SpaceExhausted, distribution
from nas.search.samplers.start import spread_start
from nas.search.samplers.surrogate import FitError, Posterior
from nas.space import Choice

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

START = 10  # trials before the model takes over
ROUNDS = 4  # of hill climbing on the improvement, at most
REFERENCE_PERCENTILE = 90  # of the predicted errors: worse ones bound no hypervolume


class KnownCostSampler(optuna.samplers.BaseSampler):
    """Expected hypervolume improvement with exact costs; for any Optuna study.

    One objective of the study has to be learned (accuracy, a fraction to maximise, or an
    error to minimise); the others are costs to minimise that a function of the
    parameters gives. An objective that is neither (a measured latency) is left out: the
    front is then sought over the ones given here.

    What it suggests depends on the seed and the study's contents alone. Nothing that
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
    ) -> None:
        if not choices:
            raise ValueError("choices: none; accepted: at least one")
        self._choices = tuple(choices)
        self._seed, self._objective = seed, objective
        self._make = lambda: Candidates(
            Encoding(self._choices),
            costs,
            limits=limits,
            feasible=feasible,
            identity=identity,
            seed=seed,
        )
        self._candidates: Candidates | None = None
        self._model: ErrorModel | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All choices that have more than one value."""
        return {c.name: distribution(c) for c in self._choices if len(c.values) > 1}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of all choices that have an effect.

        Raises:
            SpaceExhausted: nothing within the limits is left.
        """
        if "fixed_params" in trial.system_attrs:
            return {}  # queued by somebody: what is not given is drawn
        if self._candidates is None:
            self._candidates = self._make()
        candidates = self._candidates
        history = read(study, trial.number, candidates, self._objective)
        rng = np.random.default_rng([self._seed, 3, trial.number])
        free = self._free(history, rng)
        code = self._suggest(history, free, rng)
        return {
            name: value
            for name, value in candidates.encoding.decode(code).items()
            if name in search_space
        }

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Uniform: for parameters that are not choices, and for queued trials' gaps."""
        sampler = optuna.samplers.RandomSampler(seed=abs(hash((self._seed, trial.number))) % 2**32)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _free(self, history: History, rng: np.random.Generator) -> list[int]:
        """Rows of the pool that were not tried; a used up pool is drawn anew."""
        candidates = self._candidates
        assert candidates is not None
        free = candidates.untried(history.tried)
        if not free:
            raise SpaceExhausted(
                f"every architecture within the limits was tried ({len(history.tried)})"
            )
        return free

    def _suggest(self, history: History, free: list[int], rng: np.random.Generator) -> Code:
        candidates = self._candidates
        assert candidates is not None
        if history.started >= START and len(history.codes) >= LEAST:
            try:
                if self._model is None:
                    self._model = ErrorModel(candidates, self._seed)
                return self._best(self._model, history, free, rng)
            except FitError as error:
                self._model = None
                _log.warning("known-cost: %s; this trial is a spread one instead", error)
        taken = [*history.codes, *(code for code, _ in history.stopped), *history.pending]
        return candidates.codes[spread_start(candidates, free, taken, self._seed)]

    def _best(
        self, model: ErrorModel, history: History, free: list[int], rng: np.random.Generator
    ) -> Code:
        """The candidate of the largest expected improvement."""
        candidates = self._candidates
        assert candidates is not None
        posterior = model.condition(history)
        mean, deviation = self._rescale(model, *posterior.predict())
        cells, front = self._front(model, posterior, history, mean)
        value = self._improvement(
            model, cells, candidates.base_costs[free], mean[free], deviation[free]
        )
        best = int(value.argmax())
        if candidates.whole:
            return candidates.codes[free[best]]
        top = [candidates.codes[free[i]] for i in np.argsort(-value, kind="stable")[:CLIMBERS]]
        found: dict[Code, float] = {candidates.codes[free[best]]: float(value[best])}
        wanted = [*candidates.around(front, rng), *candidates.neighbours(top, rng)]
        for _ in range(ROUNDS):
            before = max(found.values())
            new = [c for c in wanted if c not in found and not candidates.tried(c, history.tried)]
            if not new:
                break
            at = self._rescale(model, *posterior.predict_at(model.points(new)))
            gains = self._improvement(model, cells, candidates.costs(new), *at)
            found.update(zip(new, gains.tolist(), strict=True))
            if max(found.values()) <= before:
                break
            climbers = sorted(found, key=lambda code: -found[code])[:CLIMBERS]
            wanted = candidates.neighbours(climbers, rng)
        return max(found, key=lambda code: found[code])

    def _front(
        self, model: ErrorModel, posterior: Posterior, history: History, pool_mean: Array
    ) -> tuple[Cells, list[Code]]:
        """Cells of what was trained or is running, as the model sees it through the noise."""
        candidates = self._candidates
        assert candidates is not None
        codes = [*history.codes, *history.pending]
        believed, _ = self._rescale(model, *posterior.predict_at(model.points(codes)))
        errors = np.exp(believed) + model.scale.floor
        costs = np.array([candidates.look_up(code).cost for code in codes])
        worst = np.percentile(np.exp(pool_mean) + model.scale.floor, REFERENCE_PERCENTILE)
        keep = non_dominated(np.column_stack([costs, errors]))
        reference = [*candidates.base_costs.max(axis=0), worst]
        front = [code for code, kept in zip(codes, keep, strict=True) if kept]
        return cut(costs[keep], errors[keep], reference), front

    @staticmethod
    def _rescale(model: ErrorModel, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of log(error - floor)."""
        scale = model.scale
        return mean * scale.deviation + scale.mean, np.sqrt(variance) * scale.deviation

    @staticmethod
    def _improvement(
        model: ErrorModel, cells: Cells, costs: Array, mean: Array, deviation: Array
    ) -> Array:
        gain = expected_improvement(cells, costs, mean, deviation, floor=model.scale.floor)
        # Where nothing is expected to improve, look where least is known.
        return gain + 1e-15 * deviation
