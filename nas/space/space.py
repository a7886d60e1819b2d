"""Search spaces: the settings of a space, and the `Arch` that each setting builds.

A space is a YAML file with the width of the stem, the width multipliers alpha, and for each
stage its width and stride and the values that repeats, the expansion ratio p, the reduction
ratio r and the expansion may take. A setting is a dictionary with one value for each choice
that has an effect; r has no effect in a pointwise stage and is absent there.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.space import space_file
from nas.space.arch import Arch, Expansion, StageArch, make_stage, scale_stem
from nas.space.named import space_path
from nas.space.space_file import SpaceFile

_PLAIN = frozenset((int, str, type(None)))  # the types of the values in a stage's settings

Value = int | float | str
Setting = dict[str, Value]


@dataclass(frozen=True)
class Choice:
    """One decision of a space; a parameter of the study.

    A conditional choice has an effect only where another choice has a certain value: r only
    where the expansion of its stage is `dct`.
    """

    name: str  # such as `stage2.repeats`
    values: tuple[Value, ...]
    needs: tuple[str, Value] | None = None  # name and value of the other choice

    @property
    def ordinal(self) -> bool:
        """Whether the values are numbers, whose order carries meaning."""
        return not any(isinstance(value, str) for value in self.values)

    def active(self, setting: Mapping[str, Any]) -> bool:
        """Whether this choice has an effect in `setting`."""
        return self.needs is None or setting.get(self.needs[0]) == self.needs[1]


class SearchSpace:
    """A set of architectures, described by the choices that lead to them.

    Args:
        schema: validated contents of a space file.
        name: for messages and titles; the name of the file without its suffix.
    """

    def __init__(self, schema: SpaceFile, name: str = "space") -> None:
        self.schema = schema
        self.name = name

    @classmethod
    def from_yaml(cls, path: str | Path) -> SearchSpace:
        """Read and validate a space file, or a space of the package by name, such as `tiny`.

        Raises:
            ValueError: one line with the file, the line and the key of the mistake,
                and what is accepted.
        """
        path = space_path(path)
        return cls(space_file.load(path), path.stem)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: str = "space") -> SearchSpace:
        """Validate plain values. Raises ValueError naming the key of the mistake."""
        return cls(space_file.parse(data, name), name)

    def to_dict(self) -> dict[str, Any]:
        """The space as plain values, in canonical form; inverse of `from_dict`."""
        return self.schema.model_dump(mode="json")

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """All choices in the order in which they are made, alpha first."""
        choices = [Choice("alpha", self.schema.width_multiplier)]
        for index, stage in enumerate(self.schema.stages):
            prefix = f"stage{index + 1}"
            choices += [
                Choice(f"{prefix}.repeats", stage.repeats),
                Choice(f"{prefix}.p", stage.p),
                Choice(f"{prefix}.expansion", stage.expansion),
            ]
            if "dct" in stage.expansion:
                choices.append(Choice(f"{prefix}.r", stage.r, (f"{prefix}.expansion", "dct")))
        return tuple(choices)

    @cached_property
    def size(self) -> int:
        """Number of settings."""
        total = len(self.schema.width_multiplier)
        for stage in self.schema.stages:
            total *= stage.size
        return total

    @cached_property
    def distinct_size(self) -> int:
        """Number of distinct architectures; settings that round to the same widths count once.

        The space is not enumerated: partial architectures are counted stage by stage, grouped
        by the set of width multipliers that can build them.
        """
        partial: Counter[frozenset[float]] = Counter()
        for alphas in _builders({a: {scale_stem(self.schema.stem, a)} for a in self._alphas}):
            partial[alphas] += 1
        for index in range(len(self.schema.stages)):
            stage = Counter(_builders({a: self._options[a][index].keys() for a in self._alphas}))
            extended: Counter[frozenset[float]] = Counter()
            for (before, n), (here, m) in itertools.product(partial.items(), stage.items()):
                if before & here:
                    extended[before & here] += n * m
            partial = extended
        return sum(partial.values())

    def decode(self, setting: Mapping[str, Any]) -> Arch:
        """The architecture that a setting builds; choices without effect are ignored.

        Raises:
            ValueError: a choice that has an effect is missing, or its value is not in the space.
        """
        by_alpha = self._built
        try:
            stem, by_stage = by_alpha[setting["alpha"]]
            stages = []
            for built, (repeats, p, expansion, r) in zip(by_stage, self._names, strict=True):
                kind = setting[expansion]
                chosen = (setting[repeats], setting[p], kind, setting[r] if kind == "dct" else None)
                if not _PLAIN.issuperset(map(type, chosen)):  # True and 2.0 equal an integer
                    raise TypeError
                stages.append(built[chosen])
        except (KeyError, TypeError):
            raise self._mistake(setting) from None
        return Arch(stem, tuple(stages))

    def _mistake(self, setting: Mapping[str, Any]) -> ValueError:
        """The error of a setting that builds nothing."""
        for choice in self.choices:
            if choice.active(setting):
                accepted = f"accepted: {list(choice.values)}"
                if choice.name not in setting:
                    return ValueError(f"{choice.name}: missing; {accepted}")
                if setting[choice.name] not in choice.values:
                    value = setting[choice.name]
                    return ValueError(f"{choice.name}: {value!r} is not in the space; {accepted}")
        return ValueError(f"{dict(setting)}: accepted: numbers of type int, words of type str")

    def encode(self, arch: Arch) -> Setting:
        """A setting that builds `arch`, so that `decode(encode(arch)) == arch`.

        Raises:
            ValueError: the space does not contain `arch`.
        """
        for alpha in self._alphas_of(arch):
            setting: Setting = {"alpha": alpha}
            for index, stage in enumerate(arch.stages):
                repeats, p, expansion, r = self._options[alpha][index][stage][0]
                key = f"stage{index + 1}."
                setting |= {key + "repeats": repeats, key + "p": p, key + "expansion": expansion}
                if r is not None:
                    setting[key + "r"] = r
            return setting
        raise ValueError(f"architecture {arch.arch_id} is not in the space {self.name}")

    def sample(self, rng: random.Random) -> Arch:
        """An architecture whose choices are drawn uniformly and independently."""
        return self.decode(self.sample_setting(rng))

    def sample_setting(self, rng: random.Random) -> Setting:
        """A setting whose choices are drawn uniformly and independently."""
        setting: Setting = {}
        for choice in self.choices:
            if choice.active(setting):
                setting[choice.name] = rng.choice(choice.values)
        return setting

    def neighbours(self, arch: Arch) -> list[Arch]:
        """All other architectures that differ by one choice, each once.

        A change of an expansion to `dct` comes with each value of r. The relation is symmetric,
        because it covers all settings that build `arch`.

        Raises:
            ValueError: the space does not contain `arch`.
        """
        alphas = list(self._alphas_of(arch))
        if not alphas:
            raise ValueError(f"architecture {arch.arch_id} is not in the space {self.name}")
        neighbours: dict[Arch, None] = {}  # a set that keeps the order
        for alpha in alphas:
            options = self._options[alpha]
            for index, stage in enumerate(arch.stages):
                for other, settings in options[index].items():
                    if any(
                        _one_choice_apart(a, b) for a in options[index][stage] for b in settings
                    ):
                        stages = (*arch.stages[:index], other, *arch.stages[index + 1 :])
                        neighbours[Arch(arch.stem, stages)] = None
            for beta in self._alphas:
                rescaled = [
                    {self._stage(index, beta, s) for s in options[index][stage]}
                    for index, stage in enumerate(arch.stages)
                ]
                for stages in itertools.product(*rescaled):
                    neighbours[Arch(scale_stem(self.schema.stem, beta), stages)] = None
        neighbours.pop(arch, None)
        return list(neighbours)

    def architectures(self) -> Iterator[Arch]:
        """Each distinct architecture once; for spaces that are small enough to enumerate."""
        seen: set[Arch] = set()
        for alpha in self._alphas:
            stem = scale_stem(self.schema.stem, alpha)
            for stages in itertools.product(*self._options[alpha]):
                arch = Arch(stem, stages)
                if arch not in seen:
                    seen.add(arch)
                    yield arch

    def shares_architecture(self, other: SearchSpace) -> bool:
        """Whether some architecture is in both spaces."""
        if len(self.schema.stages) != len(other.schema.stages):
            return False
        return any(
            scale_stem(self.schema.stem, a) == scale_stem(other.schema.stem, b)
            and all(
                here.keys() & there.keys()
                for here, there in zip(self._options[a], other._options[b], strict=True)
            )
            for a in self._alphas
            for b in other._alphas
        )

    def stage_options(self, alpha: float, index: int) -> list[StageArch]:
        """The distinct stages that can be built at `index` with the width multiplier `alpha`."""
        return list(self._options[alpha][index])

    @property
    def _alphas(self) -> tuple[float, ...]:
        return self.schema.width_multiplier

    @cached_property
    def _options(
        self,
    ) -> dict[float, list[dict[StageArch, list[tuple[int, int, Expansion, int | None]]]]]:
        """By alpha and index: the stages that can be built, with the settings that build each."""
        table: dict[float, list[dict[StageArch, list[Any]]]] = {}
        for alpha in self._alphas:
            table[alpha] = []
            for index, stage in enumerate(self.schema.stages):
                built: dict[StageArch, list[Any]] = {}
                for setting in stage.settings():
                    built.setdefault(self._stage(index, alpha, setting), []).append(setting)
                table[alpha].append(built)
        return table

    @cached_property
    def _built(self) -> dict[Any, tuple[int, list[dict[Any, StageArch]]]]:
        """By alpha: the stem, and for each index the stage that each setting builds."""
        return {
            alpha: (
                scale_stem(self.schema.stem, alpha),
                [{s: stage for stage, settings in o.items() for s in settings} for o in options],
            )
            for alpha, options in self._options.items()
        }

    @cached_property
    def _names(self) -> list[tuple[str, str, str, str]]:
        """The names of each stage's choices: repeats, p, expansion, r."""
        prefixes = [f"stage{index + 1}" for index in range(len(self.schema.stages))]
        return [(f"{s}.repeats", f"{s}.p", f"{s}.expansion", f"{s}.r") for s in prefixes]

    def _stage(
        self, index: int, alpha: float, setting: tuple[int, int, Expansion, int | None]
    ) -> StageArch:
        stage = self.schema.stages[index]
        repeats, p, expansion, r = setting
        return make_stage(stage.width, alpha, repeats, stage.stride, expansion, p, r)

    def _alphas_of(self, arch: Arch) -> Iterator[float]:
        if len(arch.stages) != len(self.schema.stages):
            return
        for alpha in self._alphas:
            if scale_stem(self.schema.stem, alpha) == arch.stem and all(
                stage in options
                for stage, options in zip(arch.stages, self._options[alpha], strict=True)
            ):
                yield alpha


def _builders(built: Mapping[float, Any]) -> Iterator[frozenset[float]]:
    """For each distinct stem or stage: the set of multipliers that build it."""
    builders: dict[Any, set[float]] = {}
    for alpha, parts in built.items():
        for part in parts:
            builders.setdefault(part, set()).add(alpha)
    return (frozenset(alphas) for alphas in builders.values())


def _one_choice_apart(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    differs: list[bool] = [x != y for x, y in zip(a, b, strict=True)]
    if differs[2]:  # the expansion, which r comes and goes with
        return not (differs[0] or differs[1])
    return sum(differs) == 1
