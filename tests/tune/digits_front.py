"""The front of a search of the digits, without the search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.data import load_search_data
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.study.front_file import FrontEntry, FrontFile, write_front
from nas.training import Recipe

NOWHERE = Path("unused")  # the digits need no folder


def write_digits_front(
    folder: Path,
    archs: Sequence[Arch],
    accuracies: Sequence[float],
    recipe: Recipe,
    knee: int | None = None,
) -> Path:
    """Write a front.json of architectures with their accuracies; `knee` is a position."""
    info = load_search_data("digits", NOWHERE).info
    entries = []
    for number, (arch, accuracy) in enumerate(zip(archs, accuracies, strict=True)):
        counted = cost(arch, info.image_size, info.in_channels, info.num_classes)
        entries.append(
            FrontEntry(
                arch_id=arch.arch_id, arch=arch.to_dict(), accuracy=accuracy, macs=counted.macs,
                params=counted.params, trial=number, seed=0, epochs=1, knee=number == knee,
            )
        )  # fmt: skip
    contents = FrontFile(
        study="synthetic", dataset=info.to_dict(), recipe=recipe.model_dump(mode="json"),
        objectives=("accuracy", "macs"), versions={}, architectures=tuple(entries),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_front(folder / "front.json", contents)
    return folder / "front.json"
