"""Synthetic accuracies over the full DyClotNet space, with interactions.

Costs are the real ones. Samplers see the accuracies only. The error of an
architecture is

    error = min(0.9, 0.05 + 0.13 exp(-quality / 2))

and its quality a sum of standardised parts, weighted by the shares of its variance:
capacity (log multiply-adds and log parameters), saturating depth and width per stage, a
penalty of p that grows with narrow stages, a gain of the recalibrator that depends on
the stage and its hidden size, pairs of stages (balance of depth, a preferred expansion
order), a triple, and an effect of the single architecture. Signs, strengths
and preferences are drawn from the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import fingerprint
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import Choice, SearchSpace, Setting

Array = NDArray[np.float64]

SPACE = Path(__file__).parents[1] / "search_spaces" / "dyclotnet.yaml"
SHARES = {"capacity": 0.12, "own choices": 0.36, "pairs": 0.34, "triple": 0.16, "alone": 0.02}
SAMPLE = 2_000  # architectures from which the parts are standardised
NONE = "pointwise"


class SyntheticProblem:
    """A seeded accuracy function on the full space, for 32x32x3 images and 10 classes."""

    best: float | None = None  # the front of ten million settings is unknown
    _scales: tuple[Array, Array]

    def __init__(self, seed: int, space: SearchSpace | None = None) -> None:
        self.space = space or SearchSpace.from_yaml(SPACE)
        self.name = f"synthetic-{seed}"
        self.choices = self.space.choices
        self.flat = _flatten(self.choices)
        self._seed = seed
        rng = np.random.default_rng([seed, 7])
        stages = len(self.space.schema.stages)
        self._depth = rng.gamma(2.0, size=stages)
        self._width = rng.gamma(2.0, size=stages)
        self._squeeze = rng.gamma(1.5, size=stages)
        self._recalibrate = rng.normal(0.5, 1.0, size=stages)
        self._hidden = rng.normal(0.3, 0.5, size=stages)
        self._pairs = rng.standard_normal((4, stages, stages))
        self._triple = rng.standard_normal(4)
        draws = [self._sample(rng) for _ in range(SAMPLE)]
        parts = np.array([self._parts(arch) for arch in draws])
        self._scales = parts.mean(axis=0), np.maximum(parts.std(axis=0), 1e-9)
        errors = np.array([self._error(arch) for arch in draws])
        logs = np.log10([self._cost(arch).macs for arch in draws])
        self.reference = (float(logs.max()), float(np.percentile(errors, 90)))
        self.fingerprint = fingerprint(logs, errors)

    def unflatten(self, setting: Setting) -> Setting:
        """As `Problem`: `unit` of a stage combines its expansion and r."""
        result: Setting = {}
        for name, value in setting.items():
            if name.endswith(".unit"):
                stage, unit = name.removesuffix("unit"), str(value)
                result[stage + "expansion"] = NONE if unit == NONE else "dct"
                if unit != NONE:
                    result[stage + "r"] = int(unit.removeprefix("dct"))
            else:
                result[name] = value
        return result

    def macs(self, setting: Mapping[str, Any]) -> float:
        """Multiply-adds, by formula."""
        return float(self._cost(self.space.decode(setting)).macs)

    def error(self, setting: Mapping[str, Any]) -> float:
        """The synthetic error."""
        return self._error(self.space.decode(setting))

    def observe(self, setting: Mapping[str, Any], rng: np.random.Generator | None) -> float:
        """The error; with a generator, with the noise of one training."""
        error = self.error(setting)
        return error if rng is None else error * float(np.exp(0.02 * rng.standard_normal()))

    def key(self, setting: Mapping[str, Any]) -> Hashable:
        """The architecture."""
        return self.space.decode(setting)

    def _sample(self, rng: np.random.Generator) -> Arch:
        setting: Setting = {}
        for choice in self.choices:
            if choice.active(setting):
                setting[choice.name] = choice.values[int(rng.integers(len(choice.values)))]
        return self.space.decode(setting)

    @staticmethod
    def _cost(arch: Arch) -> Any:
        return cost(arch, 32, 3, 10)

    def _error(self, arch: Arch) -> float:
        mean, spread = self._scales
        parts = (self._parts(arch) - mean) / spread
        weights = np.sqrt(list(SHARES.values()))
        return min(0.9, float(0.05 + 0.13 * np.exp(-0.5 * float(weights @ parts))))

    def _parts(self, arch: Arch) -> Array:
        known = self._cost(arch)
        depth = np.array([1 - np.exp(-stage.repeats / 3.0) for stage in arch.stages])
        width = np.array([np.log2(stage.width / (stage.p * 8.0)) for stage in arch.stages])
        squeeze = np.array([np.log2(stage.p) for stage in arch.stages])
        dct = np.array([stage.hidden is not None for stage in arch.stages], dtype=float)
        hidden = np.array([np.log2((stage.hidden or 8) / 8.0) for stage in arch.stages]) * dct
        own = self._depth @ depth + self._width @ np.tanh(width / 2)
        own += -self._squeeze @ (squeeze * np.exp(-width / 2)) / 3
        own += self._recalibrate @ dct + self._hidden @ np.tanh(hidden)
        pairs = depth @ self._pairs[0] @ width + depth @ self._pairs[1] @ squeeze
        pairs += dct @ self._pairs[2] @ (squeeze - 2) + np.roll(dct, 1) @ self._pairs[3] @ depth
        a, b, c, d = self._triple
        triple = a * np.prod(dct - 0.5) * 8 + b * np.prod(depth - 0.7) * 20
        triple += c * np.prod(squeeze - 2) + d * (squeeze[0] - 2) * (dct[-1] - 0.5) * depth.mean()
        digest = hashlib.sha256(f"{self._seed}:{arch.arch_id}".encode()).digest()
        alone = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal()
        capacity = np.log(known.macs) + 0.5 * np.log(known.params)
        return np.array([capacity, own, pairs, triple, alone])


def _flatten(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """The space without conditions: an expansion and its r are one choice, `unit`."""
    ratios = {c.needs[0]: c.values for c in choices if c.needs is not None}
    flat = []
    for choice in choices:
        if choice.name in ratios:
            units = tuple(
                unit
                for value in choice.values
                for unit in ([NONE] if value == NONE else [f"dct{r}" for r in ratios[choice.name]])
            )
            flat.append(Choice(choice.name.removesuffix("expansion") + "unit", units))
        elif choice.needs is None:
            flat.append(choice)
    return tuple(flat)
