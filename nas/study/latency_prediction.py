"""Expected latencies for the sampler, learned from those that the search has measured.

Latency is not known before a network is built. From `MIN_NETWORKS` measured networks on, a model
of it (`nas.deploy.latency_model`) is fitted, and again whenever they are half as many more. The
sampler then takes the expected latency for a known cost where latency is an objective, and does
not suggest networks whose expected latency is over `--max-latency`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import optuna

from nas.deploy.latency_model import MIN_NETWORKS, LatencyModel, Sizes
from nas.samplers import KnownCostSampler
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.study.config import StudyConfig


class LatencyPrediction:
    """Keeps a sampler's costs and limit up to date with what was measured.

    Args:
        config: of the study, which measures latency.
        sampler: of the study.
    """

    def __init__(self, config: StudyConfig, sampler: KnownCostSampler) -> None:
        self._config, self._sampler = config, sampler
        self._next = MIN_NETWORKS

    def learn(self, study: optuna.Study) -> bool:
        """Fit the model to what was measured, if that is enough; returns whether it was."""
        measured = measured_latencies(study)
        if len(measured) < self._next:
            return False
        self._next = _after(len(measured))
        model = _fitted(measured, self._config)
        space, limits = self._config.space, self._config.limits
        objective = "latency" in self._config.objectives.names

        def costs(setting: Mapping[str, Any]) -> tuple[float, ...]:
            expected = (model.predict(space.decode(dict(setting))),) if objective else ()
            return (*self._sampler.costs(setting), *expected)

        def feasible(setting: Mapping[str, Any]) -> bool:
            arch = space.decode(dict(setting))
            if not limits.admit(cost(arch, *model.sizes)):
                return False
            return limits.max_latency is None or model.predict(arch) <= limits.max_latency

        self._sampler.renew(costs, feasible)
        return True


def _after(networks: int) -> int:
    """At how many measured networks the model is fitted again."""
    return networks + (networks + 1) // 2


def _fitted(measured: Sequence[tuple[Arch, float]], config: StudyConfig) -> LatencyModel:
    info = config.dataset
    sizes = Sizes(info.image_size, info.in_channels, info.num_classes)
    return LatencyModel([arch for arch, _ in measured], [s for _, s in measured], sizes)


def measured_latencies(study: optuna.Study) -> list[tuple[Arch, float]]:
    """Architectures and their seconds, each once, in the order of the trials."""
    found: dict[str, tuple[Arch, float]] = {}
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        if "latency" in attributes and "arch" in attributes:
            arch = Arch.from_dict(attributes["arch"])
            found.setdefault(arch.arch_id, (arch, float(attributes["latency"])))
    return list(found.values())


def prediction_error(study: optuna.Study, config: StudyConfig) -> tuple[float, int] | None:
    """How well latencies were predicted before they were measured.

    Each network is predicted by a model that was fitted to earlier ones: to the first
    `MIN_NETWORKS`, or to half as many more, and so on, as a search on one worker does.

    Returns:
        The median relative error, and of how many networks; None where none was predicted.
    """
    measured, known, errors = measured_latencies(study), MIN_NETWORKS, []
    while len(measured) > known:
        model = _fitted(measured[:known], config)
        unseen = measured[known : _after(known)]
        errors += [abs(model.predict(arch) / seconds - 1) for arch, seconds in unseen]
        known = _after(known)
    return (median(errors), len(errors)) if errors else None
