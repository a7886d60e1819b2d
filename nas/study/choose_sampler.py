"""The samplers that `--sampler` accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import optuna

from nas.samplers import KnownCostSampler
from nas.space.arch import Arch
from nas.space.cost import Cost, cost
from nas.study.config import StudyConfig
from nas.study.latency_prediction import LatencyPrediction
from nas.study.objectives import Objectives, known_values
from nas.study.sources import StudySource, describe_arch

SAMPLERS = ("known-cost", "tpe", "nsga2", "gp", "random")


@dataclass(frozen=True)
class ChosenSampler:
    """A sampler, and the form of the space that it works on."""

    sampler: optuna.samplers.BaseSampler
    joint: bool = False  # suggest choices without effect too: see `SearchStudy`
    latency: LatencyPrediction | None = None  # where latency is measured and the sampler uses it


def effective_sampler(name: str, objectives: Objectives) -> str:
    """The sampler that is used where `name` is asked for.

    `known-cost` needs an objective whose value is known before training; without one
    Optuna's Gaussian processes take its place.

    Raises:
        ValueError: unknown name.
    """
    if name not in SAMPLERS:
        raise ValueError(f"--sampler {name}: accepted: {', '.join(SAMPLERS)}")
    return "gp" if name == "known-cost" and not objectives.known else name


def require_used(sources: Sequence[StudySource], sampler: str) -> None:
    """Raise ValueError where there are sources and the sampler does not use them."""
    if sources and sampler != SAMPLERS[0]:
        raise ValueError(
            f"--from-study with the sampler {sampler}: it does not use other studies; accepted: "
            f"--sampler {SAMPLERS[0]}, and an objective that is known before training"
        )


def choose_sampler(
    name: str,
    config: StudyConfig,
    seed: int,
    trials: int,
    images: int | None,
    sources: Sequence[StudySource] = (),
    source_front: bool = True,
) -> ChosenSampler:
    """Build a sampler for a study.

    Args:
        name: one of `SAMPLERS`.
        config: of the study.
        seed: of the search.
        trials: already in the study, so that a continued search does not repeat the draws of
            its start.
        images: of the validation split, which accuracies are measured on; None: not known.
        sources: earlier studies, for `known-cost`.
        source_front: see `KnownCostSampler`.

    Raises:
        ValueError: unknown name.
    """
    later = (seed + 1_000_003 * trials) % 2**32
    match effective_sampler(name, config.objectives):
        case "known-cost":
            sampler = known_cost_sampler(config, seed, images, sources, source_front)
            prediction = LatencyPrediction(config, sampler, sources) if config.timed else None
            return ChosenSampler(sampler, latency=prediction)
        case "tpe":
            tpe = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, seed=later
            )
            return ChosenSampler(tpe)
        case "nsga2":
            nsga2 = optuna.samplers.NSGAIISampler(population_size=20, seed=later)
            return ChosenSampler(nsga2, joint=True)
        case "gp":
            return ChosenSampler(optuna.samplers.GPSampler(seed=later), joint=True)
        case _:
            return ChosenSampler(optuna.samplers.RandomSampler(seed=later))


def known_cost_sampler(
    config: StudyConfig,
    seed: int,
    images: int | None,
    sources: Sequence[StudySource] = (),
    source_front: bool = True,
) -> KnownCostSampler:
    """The known-cost sampler with the costs, limits and identity of the space's architectures."""
    space, data = config.space, config.dataset
    sizes = (data.image_size, data.in_channels, data.num_classes)

    @lru_cache(maxsize=1)  # the functions below ask about one candidate after another
    def built(*items: tuple[str, Any]) -> tuple[Arch, Cost]:
        arch = space.decode(dict(items))
        return arch, cost(arch, *sizes)

    def costs(setting: Mapping[str, Any]) -> tuple[float, ...]:
        values = known_values(built(*setting.items())[1])
        return tuple(float(values[name]) for name in config.objectives.known_names)

    def feasible(setting: Mapping[str, Any]) -> bool:
        return config.limits.admit(built(*setting.items())[1])

    def identity(setting: Mapping[str, Any]) -> Arch:
        return built(*setting.items())[0]

    return KnownCostSampler(
        space.choices,
        costs,
        seed=seed,
        objective=config.objectives.names.index("accuracy"),
        feasible=feasible,
        examples=[space.encode(arch) for arch in config.limits.admitted(space, sizes)],
        identity=identity,
        images=images,
        sources=[source.for_sampler(config) for source in sources],
        source_front=source_front,
        describe=lambda setting: describe_arch(identity(setting)),
    )
