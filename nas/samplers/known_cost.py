"""The sampler that knows the cost: only accuracy is modelled, all of the rest is exact."""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.pareto import non_dominated
from nas.samplers.candidates import CLIMBERS, Candidates, Costs
from nas.samplers.ehvi import Boxes, box_decomposition, expected_improvement
from nas.samplers.encoding import Code, Encoding
from nas.samplers.error_model import LEAST, ErrorModel
from nas.samplers.gaussian_process import FitError, Posteriors
from nas.samplers.history import History, read
from nas.samplers.initial_design import spread_start
from nas.samplers.outcome_transform import Scale
from nas.samplers.parameters import SpaceExhausted, distribution
from nas.space.space import Choice, Setting
from nas.threads import blas_threads

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

START = 6  # trials before the model takes over
ROUNDS = 3  # of hill climbing on the improvement, at most
SCREENED_WHOLE = 200  # of a whole space, that all sets look at, chosen by the first
SCREENED = 60  # of a pool from which hills are climbed, and of a round of that, likewise
REFERENCE_PERCENTILE = 90  # of the predicted errors: worse ones bound no hypervolume


class KnownCostSampler(optuna.samplers.BaseSampler):
    """Expected hypervolume improvement with exact costs; for any Optuna study.

    One objective of the study has to be learned (accuracy, a fraction to maximise, or an
    error to minimise); the others are costs to minimise that a function of the
    parameters gives. An objective that is neither (a measured latency) is left out: the
    front is then sought over the ones given here.

    What it suggests depends on its arguments and the study's contents alone. Nothing that
    was tried or is running is suggested again, whatever thread asks; processes that share a
    study and ask within moments of each other seldom get the same. The trial's parameters are
    those of `suggest`, choices without effect left out.

    Args:
        choices: the space; conditions come before what depends on them.
        costs: values of the known objectives for any setting, feasible or not; over 0.
        seed: of everything random.
        objective: position of the objective that is learned.
        limits: the largest value of each known objective, None where there is none.
        feasible: False for settings that must not be suggested.
        identity: of any setting; equal where the same architecture is built. Default: all
            settings differ.
        images: of the validation split, where the objective is a share of them: their number
            tells how much of an accuracy is luck. None: accuracies are taken as exact; what of
            them no choice explains is each architecture's own.

    Raises:
        ValueError: one line that says what was wrong and what is accepted; of costs, of the
            number of limits and of the study's objectives when something is asked for.
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
        self._choices = tuple(choices)
        encoding = Encoding(self._choices)
        if images is not None and images < 1:
            raise ValueError(f"images: {images}; accepted: 1 or more, or None")
        if any(limit is not None and not limit > 0 for limit in limits or ()):
            raise ValueError(f"limits: {limits}; accepted: numbers over 0, or None")
        self._seed, self._objective, self._images = seed, objective, images
        self._make = partial(
            Candidates,
            encoding,
            costs,
            limits=limits,
            feasible=feasible,
            identity=identity,
        )
        self._candidates: Candidates | None = None
        self._model: ErrorModel | None = None
        # Of running trials by study and number: the study has parameters only one by one.
        self._suggested: dict[tuple[str, int], Setting] = {}
        self._lock = threading.Lock()  # `study.optimize(n_jobs=...)` asks in several threads

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made again, or cannot be pickled."""
        return self.__dict__ | {"_candidates": None, "_model": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

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
        with self._lock:
            setting = self._sample(study, trial.number)
            self._suggested[study.study_name, trial.number] = setting
        return {name: value for name, value in setting.items() if name in search_space}

    @blas_threads(1)  # trials keep the other cores busy: more threads would wait for each other
    def _sample(self, study: optuna.Study, number: int) -> Setting:
        if not 0 <= self._objective < len(study.directions):
            last = len(study.directions) - 1
            raise ValueError(f"objective: {self._objective}; accepted: 0 to {last} in this study")
        candidates = self._candidates or self._draw(0)
        suggested = {n: s for (name, n), s in self._suggested.items() if name == study.study_name}
        history = read(study, number, candidates, self._objective, suggested)
        free = candidates.untried(history.tried)
        if not free and not candidates.whole:  # a large space, its pool used up: another one
            candidates = self._draw(number)
            history = read(study, number, candidates, self._objective, suggested)
            free = candidates.untried(history.tried)
        if not free:
            raise SpaceExhausted(
                f"every architecture within the limits was tried ({len(history.tried)})"
            )
        for other in history.asking:  # it takes what it would be told
            if len(free) > 1:
                code = self._suggest(candidates, history, free, self._rng(other))
                history.pending.append(code)
                history.tried.add(candidates.known(code).identity)
                free = candidates.untried(history.tried)
        code = self._suggest(candidates, history, free, self._rng(number))
        return candidates.encoding.decode(code)

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, 3, number])

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forget what was suggested: the study has it."""
        with self._lock:
            self._suggested.pop((study.study_name, trial.number), None)

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
        views = EnsembleEHVI(model, model.condition(history), history, candidates)
        codes, value = views.of_pool(free, SCREENED_WHOLE if candidates.whole else SCREENED)
        best = codes[int(value.argmax())]
        if candidates.whole:
            return best
        top = [codes[i] for i in np.argsort(-value, kind="stable")[:CLIMBERS]]

        def fresh(code: Code) -> bool:
            return candidates.known(code).identity not in history.tried

        found: dict[Code, float] = {best: float(value.max())}
        wanted = [*candidates.around(views.front, rng), *candidates.neighbours(top, rng)]
        for _ in range(ROUNDS):
            before = max(found.values())
            new = [code for code in wanted if code not in found and fresh(code)]
            if not new:
                break
            new, gains = views.of(new)
            found.update(zip(new, gains.tolist(), strict=True))
            if max(found.values()) <= before:
                break
            climbers = sorted(found, key=lambda code: -found[code])[:CLIMBERS]
            wanted = candidates.neighbours(climbers, rng)
        return max(found, key=lambda code: found[code])


class EnsembleEHVI:
    """Improvement as sets of hyper-parameters see it, the front through the noise.

    The front is made of predictions at what was trained or is running, not of what was
    measured: a lucky measurement would hide what is really better. Where errors are exact, both
    are the same. Where trials are stopped early, what is no better than a measurement does not
    finish, lucky or not, so there it counts as well. The improvement is the mean over all sets;
    what the first one, the most probable, thinks little of is left out.
    """

    def __init__(
        self, model: ErrorModel, posteriors: Posteriors, history: History, candidates: Candidates
    ) -> None:
        self._model, self._posteriors, self._candidates = model, posteriors, candidates
        self._pool = _rescale(posteriors.scales[0], *posteriors.predict_pool())
        worst = np.exp(np.percentile(self._pool[0], REFERENCE_PERCENTILE))  # as the first sees it
        reference = [*candidates.base_costs.max(axis=0), worst + posteriors.scales[0].floor]
        codes = [*history.finished, *history.pending]
        costs = candidates.costs(codes)
        shown = np.full(len(codes), np.inf)
        if len(history.finished) < len(history.ended):
            shown[: len(history.finished)] = history.errors
        smoothed = posteriors.smoothed()  # those that finished, were stopped, are pending
        stopped = slice(len(history.finished), smoothed.shape[1] - len(history.pending))
        front: dict[Code, None] = {}
        self._cells: list[Boxes] = []
        for scale, means in zip(
            posteriors.scales, np.delete(smoothed, stopped, axis=1), strict=True
        ):
            errors = np.minimum(scale.errors(means), shown)
            keep = non_dominated(np.column_stack([costs, errors]))
            front |= dict.fromkeys(code for code, kept in zip(codes, keep, strict=True) if kept)
            self._cells.append(box_decomposition(costs[keep], errors[keep], reference))
        self.front = list(front)  # of any of the sets

    def of_pool(self, rows: list[int], count: int) -> tuple[list[Code], Array]:
        """The best of some rows of the pool, so many, and their improvements."""
        mean, deviation = (moment[rows] for moment in self._pool)
        first = self._improvement(0, self._candidates.base_costs[rows], mean, deviation)
        return self._screened([self._candidates.codes[row] for row in rows], first, count)

    def of(self, codes: list[Code]) -> tuple[list[Code], Array]:
        """The best of some codes, and their improvements."""
        return self._screened(codes, self._improvements(codes, slice(1))[0], SCREENED)

    def _screened(self, codes: list[Code], first: Array, count: int) -> tuple[list[Code], Array]:
        """So many of the codes, with means over all sets; given what the first set sees."""
        best = np.sort(np.argsort(-first, kind="stable")[:count])
        codes = [codes[i] for i in best]
        return codes, np.mean([first[best], *self._improvements(codes, slice(1, None))], axis=0)

    def _improvements(self, codes: list[Code], sets: slice) -> list[Array]:
        """Of codes, [N], as each of some sets sees them."""
        indices = range(len(self._cells))[sets]
        if not indices:
            return []
        costs, points = self._candidates.costs(codes), self._model.points(codes)
        predicted = zip(indices, *self._posteriors.predict(points, sets), strict=True)
        return [
            self._improvement(index, costs, *_rescale(self._posteriors.scales[index], *moments))
            for index, *moments in predicted
        ]

    def _improvement(self, index: int, costs: Array, mean: Array, deviation: Array) -> Array:
        floor = self._posteriors.scales[index].floor
        gain = expected_improvement(self._cells[index], costs, mean, deviation, floor=floor)
        # Where nothing is expected to improve, look where least is known.
        return gain + 1e-15 * deviation


def _rescale(scale: Scale, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of log(error - floor), from those of targets."""
    return mean * scale.deviation + scale.mean, np.sqrt(variance) * scale.deviation
