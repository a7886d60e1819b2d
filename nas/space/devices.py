"""Devices by name, with the memory and the flash that they have: `devices.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from nas.space.cost import Cost
from nas.space.limits import Limits

_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}


@dataclass(frozen=True)
class Device:
    """A device that a network may be made for."""

    name: str
    title: str
    ram: int  # bytes, published; what the program around the network needs is not subtracted
    flash: int | None  # bytes; None: a storage card of any size
    source: str  # of both numbers

    def fits(self, cost: Cost) -> bool:
        """Whether activations fit into memory and weights into flash, in int8."""
        return cost.memory <= self.ram and (self.flash is None or cost.flash <= self.flash)


@cache
def devices() -> dict[str, Device]:
    """All devices by name, in the order of the file."""
    text = (resources.files("nas.space") / "devices.yaml").read_text()
    profiles: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {
        name: Device(
            name,
            profile["title"],
            _bytes(profile["ram"]),
            None if profile["flash"] is None else _bytes(profile["flash"]),
            profile["source"],
        )
        for name, profile in profiles.items()
    }


def find_device(name: str) -> Device:
    """A device by its name, in capital letters or not. Raises ValueError for an unknown one."""
    device = devices().get(name.strip().lower())
    if device is None:
        raise ValueError(f"--device: {name[:40]!r}; accepted: {', '.join(devices())}")
    return device


def device_limits(limits: Limits, name: str | None) -> Limits:
    """Limits that hold a device's memory and flash too; where both are given, the smaller one.

    Raises:
        ValueError: an unknown device.
    """
    if name is None:
        return limits
    device = find_device(name)
    return Limits(
        limits.max_macs,
        limits.max_params,
        _smaller(limits.max_memory, device.ram),
        _smaller(limits.max_flash, device.flash),
        device.name,
        limits.max_latency,
    )


def _smaller(a: int | None, b: int | None) -> int | None:
    return min((value for value in (a, b) if value is not None), default=None)


def _bytes(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]
