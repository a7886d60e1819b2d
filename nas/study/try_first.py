"""Architectures that a search is told to train first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.front_file import read_json

ACCEPTED = "a front.json, or a JSON list of architectures"


def read_architectures(path: Path) -> list[Arch]:
    """The architectures of a front.json, or of a JSON list of them, each once.

    Raises:
        ValueError: one line with the file, what is wrong and what is accepted.
    """
    data = read_json(path, f"--try {path}", ACCEPTED)
    rows = data.get("architectures") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"--try {path}: holds no architectures; accepted: {ACCEPTED}")
    archs: dict[Arch, None] = {}
    for index, row in enumerate(rows):
        described = row["arch"] if isinstance(row, dict) and "arch" in row else row
        try:
            archs[Arch.from_dict(described)] = None
        except ValueError as error:
            raise ValueError(f"--try {path}: architecture {index + 1}: {error}") from None
    return list(archs)


def usable(archs: Sequence[Arch], config: StudyConfig) -> list[Arch]:
    """Those of the architectures that are in the space and within the limits, each once."""
    data = config.dataset
    sizes = data.image_size, data.in_channels, data.num_classes
    return [
        arch
        for arch in dict.fromkeys(archs)
        if in_space(config.space, arch) and config.limits.admit(cost(arch, *sizes))
    ]


def in_space(space: SearchSpace, arch: Arch) -> bool:
    """Whether a space contains an architecture."""
    try:
        space.encode(arch)
    except ValueError:
        return False
    return True
