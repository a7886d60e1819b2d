"""Accuracy by class and the confusion matrix of retrained networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.format import format_number
from nas.retrain.references import SEARCHED

MOST_CLASSES = 30  # of a confusion matrix; of more classes the least accurate are named
WORST = 3  # classes and confusions in a sentence
SENTENCES = 4  # networks that are described


@dataclass(frozen=True)
class ClassRow:
    """A row of a confusion matrix: the images of one class."""

    index: int  # of the class
    name: str
    images: int  # of the test set, over all seeds
    accuracy: float | None  # in [0, 1]; None where the test set has no such image
    shares: tuple[float, ...]  # of its images that are taken for each class, in [0, 1]


@dataclass(frozen=True)
class ClassTable:
    """The confusion matrix of one network."""

    network: str
    rows: tuple[ClassRow, ...]


def class_tables(summary: dict[str, Any]) -> list[ClassTable]:
    """The confusion matrix of each searched network, most accurate last.

    Empty for more than `MOST_CLASSES` classes, and for networks of earlier versions.
    """
    names = summary.get("class_names", [])
    if not 2 <= len(names) <= MOST_CLASSES:
        return []
    return [ClassTable(row["name"], _rows(row, names)) for row in _known(summary)]


def describe_classes(summary: dict[str, Any]) -> list[str]:
    """A sentence for each searched network with errors: its worst classes and confusions."""
    names, sentences = summary.get("class_names", []), []
    for row in _known(summary)[-SENTENCES:]:
        if not row["confusions"]:
            continue
        every = zip(names, row["class_images"], row["class_right"], strict=True)
        rows = [one for one in every if one[1]]
        worst = sorted(rows, key=lambda one: one[2] / one[1])[:WORST]
        least = ", ".join(f"{name} {100 * right / n:.0f} %" for name, n, right in worst)
        taken = [
            f"{names[label]} for {names[other]} ({format_number(count, 'image')})"
            for label, other, count in row["confusions"][:WORST]
        ]
        sentences.append(
            f"{row['name']}, least accurate classes: {least}; most often taken for another: "
            f"{', '.join(taken)}."
        )
    return sentences


def _known(summary: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        row for row in summary["networks"] if row["family"] == SEARCHED and "class_images" in row
    ]
    return sorted(rows, key=lambda row: float(row["test_accuracy"]))


def _rows(row: dict[str, Any], names: list[str]) -> tuple[ClassRow, ...]:
    counts = [[0] * len(names) for _ in names]
    for label, right in enumerate(row["class_right"]):
        counts[label][label] = right
    for label, taken, count in row["confusions"]:
        counts[label][taken] = count
    return tuple(
        ClassRow(
            label,
            name,
            images,
            line[label] / images if images else None,
            tuple(count / max(1, images) for count in line),
        )
        for label, (name, images, line) in enumerate(
            zip(names, row["class_images"], counts, strict=True)
        )
    )
