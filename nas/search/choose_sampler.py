"""The samplers that `--sampler` accepts."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

SAMPLERS = ("tpe", "nsga2", "gp", "random")


@dataclass(frozen=True)
class ChosenSampler:
    """A sampler, and the form of the space that it works on."""

    sampler: optuna.samplers.BaseSampler
    joint: bool = False  # suggest choices without effect too: see `SearchStudy`


def choose_sampler(name: str, seed: int, trials: int) -> ChosenSampler:
    """Build a sampler.

    Args:
        name: one of `SAMPLERS`.
        seed: of the study.
        trials: already in the study, so that a continued search does not draw again
            what it drew at its start.

    Raises:
        ValueError: unknown name.
    """
    seed = (seed + 1_000_003 * trials) % 2**32
    match name:
        case "tpe":
            return ChosenSampler(
                optuna.samplers.TPESampler(
                    multivariate=True, group=True, constant_liar=True, seed=seed
                )
            )
        case "nsga2":
            return ChosenSampler(
                optuna.samplers.NSGAIISampler(population_size=20, seed=seed), joint=True
            )
        case "gp":
            return ChosenSampler(optuna.samplers.GPSampler(seed=seed), joint=True)
        case "random":
            return ChosenSampler(optuna.samplers.RandomSampler(seed=seed))
    raise ValueError(f"--sampler: {name!r} is not known; accepted: {', '.join(SAMPLERS)}")
