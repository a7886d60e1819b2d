"""The samplers that the benchmark compares `known-cost` with, by name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import version

import optuna
from optuna.samplers import BaseSampler

from benchmarks.problems import Problem
from nas.space.space import Choice

OURS = "known-cost"
OPTUNA = ("gp", "tpe", "nsga2", "random")
SAMPLERS = (OURS, "botorch", *OPTUNA)

FORM = "1"  # part of the cache's key; increase it when the options of a baseline change


def peers_flat(problem: Problem) -> tuple[Choice, ...]:
    """The space for the baselines: ordinal choices by rank, so that values are evenly spaced."""
    return tuple(
        Choice(c.name, tuple(range(len(c.values)))) if c.ordinal else c for c in problem.flat
    )


def make_baseline(name: str, choices: Sequence[Choice], seed: int) -> BaseSampler:
    """A sampler of Optuna or BoTorch with the options that do best here.

    TPE is multivariate with a constant liar, NSGA-II has a population of 20: their
    defaults are worse on all tables.

    Raises:
        ValueError: unknown name.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "botorch":
            from benchmarks.botorch_peer import BoTorchSampler

            return BoTorchSampler(choices, seed)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        if name == "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True
            )
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
    raise ValueError(f"sampler {name!r} is not known; accepted: {', '.join(SAMPLERS)}")


def baseline_version(name: str) -> str:
    """The version that a cached replay of a baseline depends on."""
    package = "botorch" if name == "botorch" else "optuna"
    return f"{package}-{version(package)}-form{FORM}"
