"""Architectures of the DyClotNet family, with every number resolved.

An `Arch` holds widths, repeats, strides, expansions and hidden sizes. It does not hold the
width multiplier or the reduction ratio that led to them, so two settings that build the
same network are the same `Arch` and share one `arch_id`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

Expansion = Literal["dct", "pointwise"]
EXPANSIONS: tuple[Expansion, ...] = get_args(Expansion)

MAX_WIDTH = 4096
MAX_REPEATS = 64
MAX_STAGES = 8
MAX_P = 64
MAX_ALPHA = 16
MAX_STRIDE = 2

TABLE2_STEM = 32
TABLE2_STAGES = ((5, 64, 1), (6, 128, 2), (7, 256, 2))
"""(repeats, width, stride) of the three resolution stages of DyClotNet, Table 2 of the paper."""


def _require_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}: {_short(value)} is not an integer; accepted: {low} to {high}")
    if not low <= value <= high:
        raise ValueError(f"{name}: {_short(value)} is out of range; accepted: {low} to {high}")


def _short(value: object) -> str:
    """A value as text that fits on a line, however large it is."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = (
        repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    )
    return text if len(text) <= 40 else text[:37] + "..."


def _require_keys(
    where: str, data: object, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    accepted = ", ".join(required + optional)
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: {_short(data)} is not a mapping; accepted keys: {accepted}")
    for key in required:
        if key not in data:
            raise ValueError(f"{where}.{key}: missing; required keys: {', '.join(required)}")
    for key in data:
        if key not in required + optional:
            raise ValueError(f"{where}: unknown key {_short(key)}; accepted: {accepted}")


@dataclass(frozen=True)
class StageArch:
    """One resolution stage: `repeats` bottleneck blocks of the same output width.

    The first block carries the stride and the change of width: the rows "1 x stride 2" and
    "n x stride 1" of Table 2 are one stage.

    Raises:
        ValueError: a field is of the wrong type or out of range, or `width` is
            no multiple of `2 * p` (Table 1 splits N/p channels into two halves).
    """

    width: int  # output channels N of every block
    repeats: int  # number of blocks
    stride: int  # stride of the first block's depthwise convolution
    expansion: Expansion  # how N/p channels become N
    p: int  # expansion ratio: N/p channels go into the expansion
    hidden: int | None  # hidden units of the recalibrator; None for a pointwise expansion

    def __post_init__(self) -> None:
        _require_int("width", self.width, 2, MAX_WIDTH)
        _require_int("repeats", self.repeats, 1, MAX_REPEATS)
        _require_int("stride", self.stride, 1, MAX_STRIDE)
        if self.expansion not in EXPANSIONS:
            raise ValueError(
                f"expansion: {_short(self.expansion)} is not known; accepted: dct, pointwise"
            )
        _require_int("p", self.p, 1, MAX_P)
        if self.width % (2 * self.p):
            raise ValueError(
                f"width: {self.width} is not a multiple of 2p; accepted: multiples of {2 * self.p}"
            )
        if self.expansion == "dct":
            _require_int("hidden", self.hidden, 1, MAX_WIDTH)
        elif self.hidden is not None:
            raise ValueError(
                f"hidden: {_short(self.hidden)} has no meaning in a pointwise stage; accepted: none"
            )

    def to_dict(self) -> dict[str, Any]:
        """The stage as plain values; `hidden` is absent where it has no meaning."""
        data: dict[str, Any] = {
            "width": self.width,
            "repeats": self.repeats,
            "stride": self.stride,
            "expansion": self.expansion,
            "p": self.p,
        }
        if self.hidden is not None:
            data["hidden"] = self.hidden
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "stage") -> StageArch:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a field is wrong; the message names it, after `where`.
        """
        required = ("width", "repeats", "stride", "expansion", "p")
        _require_keys(where, data, required, ("hidden",))
        try:
            return cls(**{key: data[key] for key in required}, hidden=data.get("hidden"))
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from None

    def __str__(self) -> str:
        unit = f"dct h{self.hidden}" if self.expansion == "dct" else "pointwise"
        return f"{self.repeats}x{self.width} {unit} p{self.p}"


@dataclass(frozen=True)
class Arch:
    """A DyClotNet: stem convolution, stages of bottlenecks, pooling, classifier (Table 2).

    Raises:
        ValueError: a field is of the wrong type or out of range.
    """

    stem: int  # output channels of the 3x3 stem convolution
    stages: tuple[StageArch, ...]

    def __post_init__(self) -> None:
        _require_int("stem", self.stem, 1, MAX_WIDTH)
        if not isinstance(self.stages, tuple) or not 1 <= len(self.stages) <= MAX_STAGES:
            raise ValueError(f"stages: accepted: a tuple of 1 to {MAX_STAGES} stages")
        for index, stage in enumerate(self.stages):
            if not isinstance(stage, StageArch):
                raise ValueError(f"stages[{index}]: {_short(stage)}; accepted: a StageArch")

    @cached_property
    def arch_id(self) -> str:
        """12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """The architecture as plain values, in canonical form."""
        return {"stem": self.stem, "stages": [stage.to_dict() for stage in self.stages]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Arch:
        """Inverse of `to_dict`. Raises ValueError naming the stage and field that is wrong."""
        _require_keys("architecture", data, ("stem", "stages"))
        stages = data["stages"]
        if not isinstance(stages, list | tuple) or not 1 <= len(stages) <= MAX_STAGES:
            raise ValueError(f"stages: accepted: a list of 1 to {MAX_STAGES} stages")
        parsed = [StageArch.from_dict(stage, f"stages[{i}]") for i, stage in enumerate(stages)]
        return cls(data["stem"], tuple(parsed))

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no white space."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Arch:
        """Inverse of `to_json`. Raises ValueError for text that describes no architecture."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"architecture: not valid JSON ({error})") from None
        return cls.from_dict(data)

    def __str__(self) -> str:
        return f"stem {self.stem} | " + " | ".join(str(stage) for stage in self.stages)


def _require_alpha(alpha: float) -> None:
    if not 0 < alpha <= MAX_ALPHA:
        raise ValueError(f"alpha: {alpha!r}; accepted: a number above 0, at most {MAX_ALPHA}")


def scale_width(width: int, alpha: float, multiple: int) -> int:
    """`width * alpha`, rounded to the nearest multiple (half up), never below one multiple."""
    return multiple * max(1, math.floor(width * alpha / multiple + 0.5))


def strided_size(size: int, stride: int) -> int:
    """Side of a feature map after a 3x3 convolution of padding 1."""
    return (size - 1) // stride + 1


def scale_stem(width: int, alpha: float) -> int:
    """Channels of the stem under a width multiplier: the nearest multiple of 8, at least 8."""
    _require_alpha(alpha)
    return scale_width(width, alpha, 8)


def make_stage(
    width: int, alpha: float, repeats: int, stride: int, expansion: Expansion, p: int, r: int | None
) -> StageArch:
    """One stage from its settings: scaled width N, and max(1, N // r) hidden units.

    Args:
        width: output channels at alpha = 1.
        alpha: width multiplier.
        repeats: number of blocks.
        stride: stride of the first block.
        expansion: how N/p channels become N.
        p: expansion ratio.
        r: reduction ratio of the recalibrator; ignored for a pointwise expansion.

    Raises:
        ValueError: a setting, or the width that it leads to, is out of range.
    """
    _require_int("p", p, 1, MAX_P)
    _require_alpha(alpha)
    n = scale_width(width, alpha, 2 * p)
    hidden = None
    if expansion == "dct":
        if r is None:
            raise ValueError("r: missing; a dct stage needs a reduction ratio")
        _require_int("r", r, 1, MAX_WIDTH)
        hidden = max(1, n // r)
    return StageArch(n, repeats, stride, expansion, p, hidden)


def table2_arch(alpha: float = 1.0, p: int = 2, r: int = 4, expansion: Expansion = "dct") -> Arch:
    """DyClotNet of Table 2 at a width multiplier, with one p, r and expansion in every stage."""
    stages = tuple(
        make_stage(width, alpha, repeats, stride, expansion, p, r)
        for repeats, width, stride in TABLE2_STAGES
    )
    return Arch(scale_stem(TABLE2_STEM, alpha), stages)
