"""The space that is searched: which settings there are and which `Arch` each builds.

A space is a YAML file: a stem, a width multiplier, and for each stage its width and
stride, and the values that repeats, p, r and the expansion may take. A setting is a
dictionary with one value for each choice that has an effect; r has none in a
pointwise stage and is absent there.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nas.arch import (
    MAX_P,
    MAX_REPEATS,
    MAX_STAGES,
    MAX_WIDTH,
    Arch,
    Expansion,
    StageArch,
    make_stage,
    scale_stem,
    scale_width,
)

MAX_FILE_BYTES = 64 * 1024
MAX_VALUES = 64  # of one choice

Value = int | float | str
Setting = dict[str, Value]


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    return value


_Ratio = Annotated[int, Field(strict=True, ge=1, le=MAX_P)]
_List = BeforeValidator(_as_list)
_Some = Field(min_length=1, max_length=MAX_VALUES)


class StageSpace(BaseModel):
    """The settings of one stage; a single value may stand for a list of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: Annotated[int, Field(strict=True, ge=2, le=MAX_WIDTH)]  # channels at alpha = 1
    stride: Annotated[int, Field(strict=True, ge=1, le=2)]
    repeats: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=1, le=MAX_REPEATS)], ...], _List, _Some
    ]
    p: Annotated[tuple[_Ratio, ...], _List, _Some]
    r: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=1, le=MAX_WIDTH)], ...], _List, _Some
    ] = (4,)
    expansion: Annotated[tuple[Expansion, ...], _List, _Some] = ("dct", "pointwise")

    @model_validator(mode="after")
    def _distinct_values(self) -> StageSpace:
        for name in ("repeats", "p", "r", "expansion"):
            _require_distinct(name, getattr(self, name))
        return self

    def settings(self) -> Iterator[tuple[int, int, Expansion, int | None]]:
        """All (repeats, p, expansion, r); r is None where it has no effect."""
        for repeats, p, expansion in itertools.product(self.repeats, self.p, self.expansion):
            for r in self.r if expansion == "dct" else (None,):
                yield repeats, p, expansion, r


class SpaceFile(BaseModel):
    """The schema of a space file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stem: Annotated[int, Field(strict=True, ge=1, le=MAX_WIDTH)]  # channels at alpha = 1
    width_multiplier: Annotated[
        tuple[
            Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=16, allow_inf_nan=False)],
            ...,
        ],
        _List,
        _Some,
    ]
    stages: Annotated[tuple[StageSpace, ...], Field(min_length=1, max_length=MAX_STAGES)]

    @model_validator(mode="after")
    def _fits(self) -> SpaceFile:
        _require_distinct("width_multiplier", self.width_multiplier)
        alpha = max(self.width_multiplier)
        for index, stage in enumerate(self.stages):
            widest = max(scale_width(stage.width, alpha, 2 * p) for p in stage.p)
            if widest > MAX_WIDTH:
                raise ValueError(
                    f"stages[{index}].width: {stage.width} x {alpha:g} is {widest} channels; "
                    f"accepted: at most {MAX_WIDTH}"
                )
        if scale_stem(self.stem, alpha) > MAX_WIDTH:
            raise ValueError(f"stem: {self.stem} x {alpha:g}; accepted: at most {MAX_WIDTH}")
        return self


def _require_distinct(name: str, values: tuple[Any, ...]) -> None:
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        raise ValueError(f"{name}: {repeated[0]!r} stands there twice")


@dataclass(frozen=True)
class Choice:
    """One decision of the space, as a study parameter.

    It has an effect where `needs` is None or the setting holds `needs`'s value for
    `needs`'s choice: r needs the expansion of its stage to be `dct`.
    """

    name: str
    values: tuple[Value, ...]
    needs: tuple[str, Value] | None = None

    @property
    def ordinal(self) -> bool:
        """Whether the values are numbers, so that their order means something."""
        return not any(isinstance(value, str) for value in self.values)

    def active(self, setting: Mapping[str, Any]) -> bool:
        """Whether this choice has an effect in `setting`."""
        return self.needs is None or setting.get(self.needs[0]) == self.needs[1]


class SearchSpace:
    """A set of architectures, described by the choices that lead to them.

    Args:
        schema: validated contents of a space file.
        name: shown to people; the stem of the file's name.
    """

    def __init__(self, schema: SpaceFile, name: str = "space") -> None:
        self.schema = schema
        self.name = name

    @classmethod
    def from_yaml(cls, path: str | Path) -> SearchSpace:
        """Read and validate a space file.

        Raises:
            ValueError: one line with the file, the line and the key of the mistake,
                and what is accepted.
        """
        path = Path(path)
        return cls(_load(path), path.stem)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: str = "space") -> SearchSpace:
        """Validate plain values. Raises ValueError naming the key of the mistake."""
        try:
            return cls(SpaceFile.model_validate(data), name)
        except ValidationError as error:
            key, message, _ = _first_error(error)
            raise ValueError(f"space {name}: {key}: {message}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in canonical form; inverse of `from_dict`."""
        return self.schema.model_dump(mode="json")

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """All decisions in the order in which they are taken, alpha first."""
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
            units = sum(len(stage.r) if kind == "dct" else 1 for kind in stage.expansion)
            total *= len(stage.repeats) * len(stage.p) * units
        return total

    @cached_property
    def distinct_size(self) -> int:
        """Number of distinct architectures; settings that round alike count once.

        Counts, stage by stage, the partial architectures by the set of width
        multipliers that can build them, so no product is ever enumerated.
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
            ValueError: a choice that has an effect is missing or holds no value of the space.
        """
        for choice in self.choices:
            if choice.active(setting):
                if choice.name not in setting:
                    raise ValueError(f"{choice.name}: missing; accepted: {list(choice.values)}")
                if setting[choice.name] not in choice.values:
                    raise ValueError(
                        f"{choice.name}: {setting[choice.name]!r} is not in the space; "
                        f"accepted: {list(choice.values)}"
                    )
        alpha = setting["alpha"]
        stages = []
        for index, stage in enumerate(self.schema.stages):
            key = f"stage{index + 1}."
            stages.append(
                make_stage(
                    stage.width,
                    alpha,
                    setting[key + "repeats"],
                    stage.stride,
                    setting[key + "expansion"],
                    setting[key + "p"],
                    setting.get(key + "r"),
                )
            )
        return Arch(scale_stem(self.schema.stem, alpha), tuple(stages))

    def encode(self, arch: Arch) -> Setting:
        """A setting that builds `arch`: `decode(encode(arch)) == arch`.

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

    def contains(self, arch: Arch) -> bool:
        """Whether some setting builds `arch`."""
        return any(True for _ in self._alphas_of(arch))

    def sample(self, rng: random.Random) -> Arch:
        """An architecture with every choice drawn uniformly and independently."""
        return self.decode(self.sample_setting(rng))

    def sample_setting(self, rng: random.Random) -> Setting:
        """A setting with every choice that has an effect drawn uniformly."""
        setting: Setting = {}
        for choice in self.choices:
            if choice.active(setting):
                setting[choice.name] = rng.choice(choice.values)
        return setting

    def neighbours(self, arch: Arch) -> list[Arch]:
        """All other architectures that one changed choice leads to, each once.

        An expansion changed to `dct` brings each value of r. The relation is
        symmetric: it is taken over all settings that build `arch`.

        Raises:
            ValueError: the space does not contain `arch`.
        """
        alphas = list(self._alphas_of(arch))
        if not alphas:
            raise ValueError(f"architecture {arch.arch_id} is not in the space {self.name}")
        found: dict[Arch, None] = {}
        for alpha in alphas:
            options = self._options[alpha]
            for index, stage in enumerate(arch.stages):
                for other, settings in options[index].items():
                    if any(
                        _one_choice_apart(a, b) for a in options[index][stage] for b in settings
                    ):
                        stages = (*arch.stages[:index], other, *arch.stages[index + 1 :])
                        found[Arch(arch.stem, stages)] = None
            for beta in self._alphas:
                rescaled = [
                    {self._stage(index, beta, s) for s in options[index][stage]}
                    for index, stage in enumerate(arch.stages)
                ]
                for stages in itertools.product(*rescaled):
                    found[Arch(scale_stem(self.schema.stem, beta), stages)] = None
        found.pop(arch, None)
        return list(found)

    def architectures(self) -> Iterator[Arch]:
        """Every distinct architecture once; for spaces small enough to enumerate."""
        seen: set[Arch] = set()
        for alpha in self._alphas:
            stem = scale_stem(self.schema.stem, alpha)
            for stages in itertools.product(*self._options[alpha]):
                arch = Arch(stem, stages)
                if arch not in seen:
                    seen.add(arch)
                    yield arch

    @property
    def _alphas(self) -> tuple[float, ...]:
        return self.schema.width_multiplier

    @cached_property
    def _options(
        self,
    ) -> dict[float, list[dict[StageArch, list[tuple[int, int, Expansion, int | None]]]]]:
        """By alpha and stage: each stage that can be built, with the settings that build it."""
        table: dict[float, list[dict[StageArch, list[Any]]]] = {}
        for alpha in self._alphas:
            table[alpha] = []
            for index, stage in enumerate(self.schema.stages):
                built: dict[StageArch, list[Any]] = {}
                for setting in stage.settings():
                    built.setdefault(self._stage(index, alpha, setting), []).append(setting)
                table[alpha].append(built)
        return table

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
    """For each distinct thing that is built: the set of multipliers that build it."""
    makers: dict[Any, set[float]] = {}
    for alpha, things in built.items():
        for thing in things:
            makers.setdefault(thing, set()).add(alpha)
    return (frozenset(alphas) for alphas in makers.values())


def _one_choice_apart(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    differs = [x != y for x, y in zip(a, b, strict=True)]
    if differs[2]:  # the expansion: r comes or goes with it
        return not (differs[0] or differs[1])
    return sum(differs) == 1


def _load(path: Path) -> SpaceFile:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"space file {path}: cannot be read ({error.strerror})") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"space file {path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        text = raw.decode()
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError(f"space file {path}: aliases (*name) are not accepted")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"space file {path}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"space file {path}: not YAML ({type(error).__name__})") from None
    if not isinstance(data, dict):
        raise ValueError(
            f"space file {path}: accepted: a mapping with {', '.join(SpaceFile.model_fields)}"
        )
    try:
        return SpaceFile.model_validate(data)
    except ValidationError as error:
        key, message, location = _first_error(error)
        raise ValueError(
            f"space file {path}, line {_line_of(root, location)}: {key}: {message}"
        ) from None


def _first_error(error: ValidationError) -> tuple[str, str, tuple[int | str, ...]]:
    """Key, message and location of the first mistake."""
    first = error.errors(include_url=False)[0]
    location = first["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    message = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    if isinstance(value, str | int | float) and first["type"] not in ("missing", "value_error"):
        text = (
            repr(value)
            if not isinstance(value, int) or value.bit_length() < 64
            else "a huge integer"
        )
        message += f", not {text if len(text) <= 40 else text[:37] + '...'}"
    return key.lstrip(".") or "space", message, location


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """Line of the deepest node of the YAML tree on the way to `location`."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                break
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
