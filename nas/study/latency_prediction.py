"""Expected latencies for the sampler, learned from those that the search has measured.

Latency is not known before a network is built. From `MIN_NETWORKS` measured networks on, a model
of it (`nas.deploy.latency_model`) is fitted, and again whenever they are half as many more. The
sampler then takes the expected latency for a known cost where latency is an objective, and does
not suggest networks whose expected latency is over `--max-latency`. Where no other one is left,
those that are expected to be a little over it are measured too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import optuna
from pydantic import BaseModel, ConfigDict, Field

from nas.deploy.latency_model import MIN_NETWORKS, LatencyModel, Sizes, left_out_errors
from nas.format import format_number, three_digits
from nas.samplers import KnownCostSampler
from nas.samplers.history import order_of_end
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.limits import least
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.sources import StudySource

NANOSECOND = 1e-9  # seconds
EDGE = 1.2  # times the limit, up to which an expected latency may be wrong

Measured = tuple[Arch, float]  # a network and its seconds


class LatencyPrediction:
    """Keeps a sampler's costs and limit up to date with what was measured.

    The networks that the model is fitted to follow from the study alone, so that a search that is
    continued predicts as one that was never interrupted.

    Args:
        config: of the study, which measures latency.
        sampler: of the study.
        sources: of the study, whose architectures need an expected latency too.
    """

    def __init__(
        self, config: StudyConfig, sampler: KnownCostSampler, sources: Sequence[StudySource] = ()
    ) -> None:
        self._config, self._sampler, self._sources = config, sampler, sources
        self._fitted_to = 0  # networks
        self._model: LatencyModel | None = None
        self.fastest: Arch | None = None  # expected to be, where there is a limit and a model

    def learn(self, study: optuna.Study, *, at_once: bool = False) -> bool:
        """Fit the model to what was measured, if that is enough for a new one.

        Args:
            study: whose networks were measured.
            at_once: whether one more network than before is enough.

        Returns:
            Whether it was.
        """
        enough = max(MIN_NETWORKS, self._fitted_to + 1) if at_once else _after(self._fitted_to)
        trials = study.get_trials(deepcopy=False)
        if sum("latency" in trial.user_attrs for trial in trials) < enough:
            return False
        measured = measured_latencies(study)
        if len(measured) < enough:
            return False
        while len(measured) >= (more := _after(self._fitted_to)):
            self._fitted_to = more
        if at_once:
            self._fitted_to = len(measured)
        model = self._model = _fitted(measured[: self._fitted_to], self._config)
        space, limits = self._config.space, self._config.limits
        objective = "latency" in self._config.objectives.names

        def expected(arch: Arch) -> tuple[float, ...]:
            return (model.predict(arch),) if objective else ()

        def costs(setting: Mapping[str, Any]) -> tuple[float, ...]:
            return (*self._sampler.costs(setting), *expected(space.decode(dict(setting))))

        def feasible(setting: Mapping[str, Any]) -> bool:
            arch = space.decode(dict(setting))
            if not limits.admit(cost(arch, *model.sizes)):
                return False
            return limits.max_latency is None or model.predict(arch) <= limits.max_latency

        self.fastest = None if limits.max_latency is None else _fastest(space, model)
        examples = [] if self.fastest is None else [space.encode(self.fastest)]
        sources = [source.for_sampler(self._config, expected) for source in self._sources]
        self._sampler.renew(costs, feasible, examples, sources)
        return True

    def worth_measuring(self, arch: Arch) -> bool:
        """Whether a network may be within the limit, although it is not expected to be."""
        limit = self._config.limits.max_latency
        return limit is None or self._model is None or self._model.predict(arch) <= EDGE * limit


def _after(networks: int) -> int:
    """At how many measured networks the model is fitted again."""
    return max(MIN_NETWORKS, networks + (networks + 1) // 2)


def _fastest(space: SearchSpace, model: LatencyModel) -> Arch:
    return least(space, lambda arch: round(model.predict(arch) / NANOSECOND))


def _sizes(config: StudyConfig) -> Sizes:
    info = config.dataset
    return Sizes(info.image_size, info.in_channels, info.num_classes)


def _fitted(measured: Sequence[Measured], config: StudyConfig) -> LatencyModel:
    return LatencyModel([arch for arch, _ in measured], [s for _, s in measured], _sizes(config))


def measured_latencies(study: optuna.Study) -> list[Measured]:
    """Architectures and their seconds, each once, in the order in which the trials ended."""
    measured: dict[str, Measured] = {}
    for trial in sorted(study.get_trials(deepcopy=False), key=order_of_end):
        attributes = trial.user_attrs
        if "latency" in attributes and "arch" in attributes:
            arch = Arch.from_dict(attributes["arch"])
            measured.setdefault(arch.arch_id, (arch, float(attributes["latency"])))
    return list(measured.values())


class PredictionError(BaseModel):
    """How well the latencies of a study are predicted from each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    networks: int  # measured, each predicted from the others
    median: Annotated[float, Field(ge=0)]  # relative error

    def sentence(self) -> str:
        """The same for a reader."""
        return (
            f"Latency of each network predicted from the others: median error "
            f"{three_digits(100 * self.median)} %, {format_number(self.networks, 'network')}."
        )


def prediction_error(measured: Sequence[Measured], config: StudyConfig) -> PredictionError | None:
    """The error of predicted latencies; None with too few networks for a model without one.

    Args:
        measured: networks, each once.
        config: of the study.
    """
    if len(measured) <= MIN_NETWORKS:
        return None
    archs, seconds = zip(*measured, strict=True)
    errors = left_out_errors(archs, seconds, _sizes(config))
    return PredictionError(networks=len(measured), median=round(float(np.median(errors)), 4))
