"""Space files: their schema, and a reader that names the line and the key of a mistake.

A file may come from anybody. Its size, its depth and its number of values are limited, and
every mistake is a ValueError of one line.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import model_validator as model_check
from pydantic_core import PydanticCustomError

from nas.space.arch import (
    MAX_ALPHA,
    MAX_P,
    MAX_REPEATS,
    MAX_STAGES,
    MAX_WIDTH,
    Expansion,
    scale_stem,
    scale_width,
)

MAX_FILE_BYTES = 32 * 1024
MAX_DEPTH = 8  # levels of lists and mappings; a space has 4
MAX_VALUES = 64  # values of one choice
MAX_OPTIONS = 50_000  # sum of the stages' settings, times the number of width multipliers

Location = tuple[int | str, ...]


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        raise ValueError(f"{repeated[0]!r} is listed twice; accepted: distinct values")
    return values


_List = BeforeValidator(_as_list)
_Some = Field(min_length=1, max_length=MAX_VALUES)
_Distinct = AfterValidator(_distinct)
_Width = Annotated[int, Field(strict=True, ge=1, le=MAX_WIDTH)]
_Repeats = Annotated[int, Field(strict=True, ge=1, le=MAX_REPEATS)]
_P = Annotated[int, Field(strict=True, ge=1, le=MAX_P)]
_Alpha = Annotated[float, Field(strict=True, gt=0, le=MAX_ALPHA, allow_inf_nan=False)]


class StageSpace(BaseModel):
    """The values that the choices of one stage may take; a single value is a list of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: _Width  # output channels at alpha = 1
    stride: Annotated[int, Field(strict=True, ge=1, le=2)]  # stride of the first block
    repeats: Annotated[tuple[_Repeats, ...], _List, _Some, _Distinct]  # number of blocks
    p: Annotated[tuple[_P, ...], _List, _Some, _Distinct]  # expansion ratio: N/p become N
    r: Annotated[tuple[_Width, ...], _List, _Some, _Distinct] = (4,)  # reduction ratio: N // r
    expansion: Annotated[tuple[Expansion, ...], _List, _Some, _Distinct] = ("dct", "pointwise")

    def settings(self) -> Iterator[tuple[int, int, Expansion, int | None]]:
        """All (repeats, p, expansion, r); r is None where it has no effect."""
        for repeats, p, expansion in itertools.product(self.repeats, self.p, self.expansion):
            for r in self.r if expansion == "dct" else (None,):
                yield repeats, p, expansion, r

    @property
    def size(self) -> int:
        """Number of settings."""
        units = sum(len(self.r) if kind == "dct" else 1 for kind in self.expansion)
        return len(self.repeats) * len(self.p) * units


class SpaceFile(BaseModel):
    """The contents of a space file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stem: _Width  # output channels at alpha = 1
    width_multiplier: Annotated[tuple[_Alpha, ...], _List, _Some, _Distinct]  # alpha
    stages: Annotated[tuple[StageSpace, ...], Field(min_length=1, max_length=MAX_STAGES)]

    @model_check(mode="after")
    def _fits(self) -> SpaceFile:
        alpha = max(self.width_multiplier)
        widths: list[tuple[Location, int, int]] = [
            (("stem",), self.stem, scale_stem(self.stem, alpha))
        ]
        for index, stage in enumerate(self.stages):
            widest = max(scale_width(stage.width, alpha, 2 * p) for p in stage.p)
            widths.append((("stages", index, "width"), stage.width, widest))
        for location, width, scaled in widths:
            if scaled > MAX_WIDTH:
                raise _mistake(
                    location,
                    f"{width} x {alpha:g} is {scaled} channels; accepted: at most {MAX_WIDTH}",
                )
        options = len(self.width_multiplier) * sum(stage.size for stage in self.stages)
        if options > MAX_OPTIONS:
            raise _mistake(
                ("stages",),
                f"settings of all stages x width multipliers are {options}; "
                f"accepted: at most {MAX_OPTIONS}",
            )
        return self


def parse(data: Mapping[str, Any], name: str) -> SpaceFile:
    """Validate plain values; `name` is for the message.

    Raises:
        ValueError: one line with the key of the mistake and what is accepted.
    """
    try:
        return SpaceFile.model_validate(data)
    except ValidationError as error:
        key, message, _ = _first_error(error)
        raise ValueError(f"space {name}: {key}: {message}") from None


def load(path: Path) -> SpaceFile:
    """Read and validate a space file.

    Raises:
        ValueError: one line with the file, the line and the key of the mistake, and what
            is accepted.
    """
    where = f"space file {path}"
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{where}: cannot be read ({reason})") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"{where}: larger than {MAX_FILE_BYTES} bytes, the most that is accepted")
    try:
        text = raw.decode()
        _refuse_hostile(text)
        root, data = _Loader.read(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{where}, line {line}: {_short(error.problem or 'not YAML')}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError(f"{where}: not a text file; accepted: YAML in UTF-8") from None
    if not isinstance(data, dict):
        raise ValueError(
            f"{where}: holds no mapping; accepted: the keys {', '.join(SpaceFile.model_fields)}"
        )
    try:
        return SpaceFile.model_validate(data)
    except ValidationError as error:
        key, message, location = _first_error(error)
        raise ValueError(f"{where}, line {_line_of(root, location)}: {key}: {message}") from None


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice."""

    @classmethod
    def read(cls, text: str) -> tuple[yaml.Node | None, object]:
        """The tree of nodes, which have line numbers, and the values."""
        loader = cls(text)
        try:
            root = loader.get_single_node()
            return root, None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.MappingNode):
            keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and keys[key.value] > 1:
                    raise _yaml_error(f"key {key.value!r} is given twice", key.start_mark)
        try:
            return super().construct_object(node, deep)
        # Examples: a date of month 13, 5,000 digits, `!!timestamp x`, `!!bool x`, `!!int ""`.
        except (ValueError, OverflowError, AttributeError, LookupError, TypeError):
            raise _yaml_error(
                f"{_short(repr(node.value))} is not a valid value", node.start_mark
            ) from None


def _refuse_hostile(text: str) -> None:
    """Refuse aliases and deep nesting, which make reading slow, before the file is read."""
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise _yaml_error("aliases (*name) are not accepted", token.start_mark)
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            raise _yaml_error(
                f"nested too deeply; accepted: at most {MAX_DEPTH} levels", token.start_mark
            )


_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _yaml_error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _mistake(location: Location, message: str) -> PydanticCustomError:
    """A mistake that concerns several fields, reported at `location`."""
    return PydanticCustomError("mistake", "{message}", {"message": message, "at": location})


def _first_error(error: ValidationError) -> tuple[str, str, Location]:
    """The key, the message and the location of the first mistake."""
    first = error.errors(include_url=False)[0]
    location: Location = first.get("ctx", {}).get("at", first["loc"])
    parent = StageSpace if location[:1] == ("stages",) and len(location) > 1 else SpaceFile
    accepted = ", ".join(parent.model_fields)
    match first["type"]:
        case "missing":
            message = f"missing; the keys are {accepted}"
        case "extra_forbidden" | "invalid_key":
            message = f"unknown key; accepted: {accepted}"
        case "mistake" | "value_error":
            message = first["msg"].removeprefix("Value error, ")
        case _:
            message = _sentence(first["input"], first["msg"])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return _short(key.removeprefix(".")) or "the whole", message, location


def _sentence(value: object, message: str) -> str:
    """Pydantic's message about a value, in YAML's words."""
    message = message.replace(" after validation", "").replace("valid tuple", "list")
    message = re.sub("valid dictionary or instance of .*", "mapping", message)
    return f"{_describe(value)} {message.split(' ', 1)[1]}"  # "Input should be ..."


def _describe(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge integer"
    if isinstance(value, list | tuple | dict):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    if value is None:
        return "nothing"
    return _short(repr(value)) if isinstance(value, str | int | float) else type(value).__name__


def _short(text: str) -> str:
    """The text on one line: at most 80 characters, all printable."""
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 80 else text[:77] + "..."


def _line_of(node: yaml.Node | None, location: Location) -> int:
    """Line of the deepest node of the YAML tree on the path to `location`."""
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
