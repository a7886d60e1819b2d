"""What a trial measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """The result of a trial, at its end or where it was stopped."""

    accuracy: float  # fraction in [0, 1] on the validation split
    epochs: int  # trained
    seconds: float  # of training and evaluation
    curve: Sequence[tuple[int, float]] = field(default=())  # (epoch, accuracy)
    losses: Sequence[float] = ()  # mean training loss of each epoch
    right: Sequence[tuple[int, str]] = ()  # (epoch, validation images classified right, encoded)
    latency_ratio: float | None = None  # of one image's forward pass to the control network's
    latency_noise: float | None = None  # relative standard error of that ratio
    latency_control: float | None = None  # seconds of the control network, timed beside it

    def to_attributes(self) -> dict[str, Any]:
        """The user attributes of the trial, but for its latency in seconds."""
        attributes: dict[str, Any] = {
            "accuracy": self.accuracy,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "curve": [list(point) for point in self.curve],
        }
        if self.losses:
            attributes["losses"] = [round(loss, 5) for loss in self.losses]
        if self.right:  # see `nas.stopping.right_images`
            attributes["right"] = [list(at_rung) for at_rung in self.right]
        if self.latency_ratio is not None:
            attributes |= {
                "latency_ratio": self.latency_ratio,
                "latency_noise": self.latency_noise,
                "latency_control": self.latency_control,
            }
        return attributes
