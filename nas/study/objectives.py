"""What a search optimises: accuracy against one or more costs.

`OBJECTIVES` is the one table of them. An entry is all that a new objective needs if its value
follows from an architecture's `Cost`; one that is measured is also to be reported by the trial
(`nas.study.measurement.Measurement`), as latency is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from nas.format import format_bytes, format_count, format_latency
from nas.space.cost import Cost

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """One quantity that a search can optimise, and how a person reads it."""

    direction: Direction
    label: str  # heads a column; follows a value where nothing else says what it is
    format: Callable[[float], str]  # a value as text, with its unit if it has one
    known: Callable[[Cost], int] | None = None  # computes it before training; None: measured
    unit: str = ""  # of the plain value, on an axis
    range: tuple[float, float] = (1e-12, 1.0)  # of hypervolumes, where it is not `known`

    @property
    def axis(self) -> str:
        """Title of an axis of plain values."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def describe(self, value: float) -> str:
        """A value where nothing nearby says what it is: `1.2 M parameters`, `3.1 ms latency`."""
        return f"{self.format(value)} {self.label}"


def percent(accuracy: float) -> str:
    """An accuracy in per cent."""
    return f"{100 * accuracy:.2f} %"


def accuracy_label(metric: str, quantized: bool) -> str:
    """What a person reads over accuracies, such as accuracy, or int8 balanced accuracy."""
    return "int8 " * quantized + metric.replace("-", " ")


OBJECTIVES: dict[str, Objective] = {
    # Fraction in [0, 1] on the validation split.
    "accuracy": Objective("maximize", "accuracy", percent, unit="fraction"),
    # Multiply-adds of one forward pass of one image.
    "macs": Objective("minimize", "FLOPs (multiply-adds)", format_count, lambda cost: cost.macs),
    # Trainable parameters.
    "params": Objective("minimize", "parameters", format_count, lambda cost: cost.params),
    # Peak activation memory and weights on a device, where networks run in int8.
    "memory": Objective(
        "minimize", "int8 memory", format_bytes, lambda cost: cost.memory, unit="bytes"
    ),
    "flash": Objective(
        "minimize", "int8 flash", format_bytes, lambda cost: cost.flash, unit="bytes"
    ),
    # Seconds of one forward pass of one image.
    "latency": Objective("minimize", "latency", format_latency, unit="seconds", range=(1e-5, 10.0)),
}


def costs() -> list[str]:
    """The names of all objectives but accuracy."""
    return [name for name in OBJECTIVES if name != "accuracy"]


def known_values(cost: Cost) -> dict[str, int]:
    """Every objective that is known before training, for an architecture of this cost."""
    return {name: one.known(cost) for name, one in OBJECTIVES.items() if one.known is not None}


@dataclass(frozen=True)
class Objectives:
    """The objectives of a study, in their order.

    Raises:
        ValueError: accuracy is missing or alone, a name is unknown or stands there twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        accepted = f"accuracy and at least one of {', '.join(costs())}"
        unknown = [name for name in self.names if name not in OBJECTIVES]
        if unknown:
            raise ValueError(f"--objectives: {unknown[0][:40]!r}; accepted: {accepted}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"--objectives: {','.join(self.names)[:80]} repeats a name")
        if "accuracy" not in self.names or len(self.names) < 2:
            raise ValueError(f"--objectives: {','.join(self.names)[:80]!r}; accepted: {accepted}")

    @classmethod
    def parse(cls, text: str) -> Objectives:
        """From the command line's form, `accuracy,macs`."""
        return cls(tuple(name.strip() for name in text.split(",")))

    @property
    def directions(self) -> list[Direction]:
        """Optuna's direction of each objective."""
        return [OBJECTIVES[name].direction for name in self.names]

    @property
    def costs(self) -> list[str]:
        """The names of all but accuracy."""
        return [name for name in self.names if name != "accuracy"]

    @property
    def main_cost(self) -> str:
        """The cost that figures are drawn over: multiply-adds, else the first one."""
        return "macs" if "macs" in self.names else self.costs[0]

    @property
    def known(self) -> tuple[int, ...]:
        """Positions of the objectives whose value is known before training."""
        return tuple(i for i, n in enumerate(self.names) if OBJECTIVES[n].known is not None)

    @property
    def known_names(self) -> list[str]:
        """The names of the objectives whose value is known before training."""
        return [self.names[i] for i in self.known]

    def values(self, measured: Mapping[str, float]) -> list[float]:
        """The study's values of one trial, in order."""
        return [float(measured[name]) for name in self.names]
