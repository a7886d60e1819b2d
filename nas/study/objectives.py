"""What a search optimises: accuracy against one or more costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["maximize", "minimize"]

DIRECTIONS: dict[str, Direction] = {
    "accuracy": "maximize",  # fraction in [0, 1] on the validation split
    "macs": "minimize",  # multiply-adds of one forward pass of one image
    "params": "minimize",  # trainable parameters
    "latency": "minimize",  # seconds of one forward pass of one image
}
KNOWN = ("macs", "params")  # computed from the architecture before anything is trained

COST_LABELS = {
    "macs": "FLOPs (multiply-adds)",
    "params": "parameters",
    "latency": "latency in seconds",
}


@dataclass(frozen=True)
class Objectives:
    """The objectives of a study, in their order.

    Raises:
        ValueError: accuracy is missing or alone, a name is unknown or stands there twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        accepted = "accuracy and at least one of macs, params, latency"
        unknown = [name for name in self.names if name not in DIRECTIONS]
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
        return [DIRECTIONS[name] for name in self.names]

    @property
    def known(self) -> tuple[int, ...]:
        """Positions of the objectives whose value is known before training."""
        return tuple(i for i, name in enumerate(self.names) if name in KNOWN)

    def values(self, measured: Mapping[str, float]) -> list[float]:
        """The study's values of one trial, in order."""
        return [float(measured[name]) for name in self.names]
