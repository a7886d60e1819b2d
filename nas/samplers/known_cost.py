"""The known-cost sampler: only accuracy is modelled, costs are exact.

After an initial design (`initial_design.py`) it suggests the candidate (`maximise.py`) of the
largest expected hypervolume improvement (`ehvi.py`) under a Gaussian process of error
(`error_model.py`).
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.samplers.acquisition import EnsembleEHVI
from nas.samplers.candidates import Candidates, Costs
from nas.samplers.encoding import Code, Encoding
from nas.samplers.error_model import MIN_FINISHED, ErrorModel
from nas.samplers.gaussian_process import FitError
from nas.samplers.history import History, read
from nas.samplers.initial_design import spread_start
from nas.samplers.maximise import best_candidates
from nas.samplers.parameters import SpaceExhausted, distribution
from nas.samplers.sources import Description, Source
from nas.space.space import Choice, Setting
from nas.threads import blas_threads

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

START = 6  # trials of the initial design
SOURCE_START = 10  # trials of it in a study with sources, as long as their fronts are worth it


class FittedStudy(NamedTuple):
    """What the model of a study knows."""

    shares: dict[str, float]  # of each source in what is predicted at the trials, 0 to 1
    finished: list[Setting]  # of the finished trials
    predict: Callable[[Mapping[str, Any], float], float]
    """The error of any setting, so many standard deviations from what is expected."""


class KnownCostSampler(optuna.samplers.BaseSampler):
    """Expected hypervolume improvement with exact costs, for any Optuna study.

    One objective of the study is learned (accuracy, a fraction to maximise, or an error to
    minimise). The others are costs to minimise that a function of the parameters gives. An
    objective that is neither (a measured latency) is ignored: the sampler then seeks the front
    of the objectives given here.

    Suggestions depend on the arguments and the study's contents alone. No architecture that was
    tried or is running is suggested again, from whichever thread the study is asked. Processes
    that share a study and ask it within moments of each other rarely get the same suggestion.
    A trial has the parameters of `suggest`, without choices that have no effect.

    Args:
        choices: of the space; a condition comes before the choices that depend on it.
        costs: values of the known objectives for any setting, feasible or not; over 0.
        seed: seeds every random draw.
        objective: position of the objective that is learned.
        feasible: False for settings that must not be suggested, such as those over a limit.
        examples: feasible settings, for limits that random settings are hardly within: the
            candidates of a large space grow from them.
        identity: equal for settings that build the same architecture. Default: every setting
            is an architecture of its own.
        images: number of validation images, if the learned objective is a share of them: it
            tells the binomial noise of an accuracy. None: accuracies are exact, and what the
            choices do not explain is each architecture's own.
        sources: earlier studies of architectures of the same kinds, which tell part of the
            error. How much is learned from the study's own trials, for each source by itself.
            The first trials are the cheapest architecture and those that the sources have found
            best.
        source_front: False: the first trials are spread over costs and choices all the same.
        describe: a setting in the terms that the sources describe their architectures in.
            Default: the setting itself.

    Raises:
        ValueError: one line that says what was wrong and what is accepted. Costs and the
            study's objectives are checked at the first ask.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        costs: Costs,
        *,
        seed: int = 0,
        objective: int = 0,
        feasible: Callable[[Mapping[str, Any]], bool] | None = None,
        examples: Sequence[Setting] = (),
        identity: Callable[[Mapping[str, Any]], Hashable] | None = None,
        images: int | None = None,
        sources: Sequence[Source] = (),
        source_front: bool = True,
        describe: Callable[[Mapping[str, Any]], Description] = dict,
    ) -> None:
        self._choices = tuple(choices)
        encoding = Encoding(self._choices)
        if images is not None and images < 1:
            raise ValueError(f"images: {images}; accepted: 1 or more, or None")
        self._seed, self._objective, self._images = seed, objective, images
        self._sources, self._describe = tuple(sources), describe
        self._source_front = source_front
        self.costs = costs
        self._encode = encoding.encode
        self._examples = self._encoded(examples)
        self._make_candidates = partial(
            Candidates,
            encoding,
            costs=costs,
            feasible=feasible,
            identity=identity,
            examples=self._examples,
        )
        self._candidates: Candidates | None = None
        self._model: ErrorModel | None = None
        # Settings of running trials by study and number: Optuna stores them one by one.
        self._suggested: dict[tuple[str, int], Setting] = {}
        self._expected = 1  # trials that will be asked for before any result is told
        self._batch: list[Code] = []  # suggestions that were chosen with the one before
        self._batch_of = ""  # name of the study that they are for
        self._lock = threading.Lock()  # `study.optimize(n_jobs=...)` asks from several threads

    def renew(
        self,
        costs: Costs,
        feasible: Callable[[Mapping[str, Any]], bool],
        examples: Sequence[Setting] = (),
        sources: Sequence[Source] = (),
    ) -> None:
        """Suggest by other costs and limits from now on, such as ones that are learned.

        Args:
            costs: as those given first, which `self.costs` stays; there may be more of them.
            feasible: as given first.
            examples: besides those given first.
            sources: those given first, with these costs.
        """
        with self._lock:
            self._sources = tuple(sources)
            self._make_candidates = partial(
                self._make_candidates,
                costs=costs,
                feasible=feasible,
                examples=[*self._examples, *self._encoded(examples)],
            )
            self._candidates = self._model = None
            self._batch = []

    def _encoded(self, settings: Sequence[Setting]) -> list[Code]:
        return [code for one in settings if (code := self._encode(one)) is not None]

    def expect(self, asks: int) -> None:
        """Announce how many trials will be asked for before any result is told.

        Their suggestions then come from one look at the model, each chosen beside those
        before it, which takes little longer than one suggestion.

        Raises:
            ValueError: `asks` is below 1.
        """
        if asks < 1:
            raise ValueError(f"asks: {asks}; accepted: 1 or more")
        with self._lock:
            self._expected, self._batch = asks, []

    @blas_threads(1)
    def fitted(self, study: optuna.Study) -> FittedStudy | None:
        """What the model knows after the trials of a study; None while there is no model.

        Raises:
            FitError: numerical failure.
        """
        # Candidates of its own: another thread may ask, and changes those that it asks by.
        candidates = self._make_candidates(seed=[self._seed, 0, 0])
        history = read(study, -1, candidates, self._objective, {})
        if len(history.finished) < MIN_FINISHED:
            return None
        model = ErrorModel(candidates, self._seed, self._images, self._sources, self._describe)
        posteriors = model.condition(history)
        names = [source.name for source in model.sources.models]

        def predict(setting: Mapping[str, Any], deviations: float = 0.0) -> float:
            code = candidates.encoding.encode(setting)
            if code is None:
                raise ValueError(f"{setting}: not a setting of the space")
            mean, variance = posteriors.predict(model.points([code]), slice(1))
            drawn = mean[0] + deviations * np.sqrt(np.maximum(variance[0], 0.0))
            return float(posteriors.transforms[0].errors(drawn)[0])

        finished = [candidates.encoding.decode(code) for code in history.finished]
        shares = posteriors.shares().tolist() or [0.0] * len(names)  # none where all mislead
        return FittedStudy(dict(zip(names, shares, strict=True)), finished, predict)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is computed again or cannot be pickled."""
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
        """Values of all choices that have an effect; empty for a queued trial.

        Raises:
            SpaceExhausted: every feasible architecture was tried.
        """
        if "fixed_params" in trial.system_attrs:
            return {}  # queued by the user: values that are not given are drawn
        with self._lock:
            setting = self._sample(study, trial.number)
            self._suggested[study.study_name, trial.number] = setting
        return {name: value for name, value in setting.items() if name in search_space}

    @blas_threads(1)  # trials keep the other cores busy: more threads would wait for each other
    def _sample(self, study: optuna.Study, number: int) -> Setting:
        if not 0 <= self._objective < len(study.directions):
            last = len(study.directions) - 1
            raise ValueError(f"objective: {self._objective}; accepted: 0 to {last} in this study")
        candidates = self._candidates or self._draw_candidates(0)
        if self._batch and self._batch_of == study.study_name:
            return candidates.encoding.decode(self._batch.pop(0))
        suggested = {n: s for (name, n), s in self._suggested.items() if name == study.study_name}
        history = read(study, number, candidates, self._objective, suggested)
        untried = candidates.untried(history.tried)
        if not untried and not candidates.enumerable:  # the pool is used up: draw another one
            candidates = self._draw_candidates(number)
            history = read(study, number, candidates, self._objective, suggested)
            untried = candidates.untried(history.tried)
        if not untried:
            raise SpaceExhausted(
                f"every architecture within the limits was tried ({len(history.tried)})"
            )
        for other in history.asking:  # simulate what that trial is about to be told
            if len(untried) > 1:
                code = self._suggest(candidates, history, untried, self._rng(other), 1)[0]
                history.pending.append(code)
                history.tried.add(candidates.info(code).identity)
                untried = candidates.untried(history.tried)
        count, self._expected = self._expected, 1
        code, *self._batch = self._suggest(candidates, history, untried, self._rng(number), count)
        self._batch_of = study.study_name
        if not self._batch:  # there is no model yet
            self._expected = max(1, count - 1)
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
        """Forget the suggestion: the study has it now."""
        with self._lock:
            self._suggested.pop((study.study_name, trial.number), None)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A uniform value, for parameters that are not choices and for gaps of queued trials."""
        seed = zlib.crc32(f"{self._seed}:{trial.number}:{param_name}".encode())
        sampler = optuna.samplers.RandomSampler(seed=seed)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _draw_candidates(self, draw: int) -> Candidates:
        """Make the candidates; the pool of a large space differs from draw to draw."""
        self._candidates, self._model = self._make_candidates(seed=[self._seed, 0, draw]), None
        return self._candidates

    def _suggest(
        self,
        candidates: Candidates,
        history: History,
        untried: list[int],
        rng: np.random.Generator,
        count: int,
    ) -> list[Code]:
        """One code at least; `count` where the model chooses."""
        taken = [*(trial.code for trial in history.ended), *history.pending]
        modelled = history.started >= START and len(history.finished) >= MIN_FINISHED
        if self._model is None and (modelled or self._sources):
            self._model = ErrorModel(
                candidates, self._seed, self._images, self._sources, self._describe
            )
        if not taken:  # nothing is cheaper, so it is on the front whatever a source says
            return [candidates.codes[spread_start(candidates, untried, taken, self._seed)]]
        if modelled and history.started < SOURCE_START:
            front_member = self._source_proposal(history, untried, front_only=True)
            if front_member is not None:
                return [front_member]
        if modelled and self._model is not None:
            try:
                posteriors = self._model.condition(history)
                acquisition = EnsembleEHVI(self._model, posteriors, history, candidates)
                return best_candidates(acquisition, candidates, history, untried, rng, count)
            except FitError as error:
                self._model = None
                _log.warning("known-cost: %s; this trial is from the initial design", error)
        proposal = self._source_proposal(history, untried, front_only=False)
        if proposal is not None:
            return [proposal]
        return [candidates.codes[spread_start(candidates, untried, taken, self._seed)]]

    def _source_proposal(
        self, history: History, untried: list[int], *, front_only: bool
    ) -> Code | None:
        """What the sources propose, if there are some and the study begins with their fronts."""
        if not self._source_front or self._model is None or not self._model.sources.models:
            return None
        return self._model.source_start(history, untried, front_only=front_only)
