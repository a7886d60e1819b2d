"""Samplers of our own, in Optuna's form.

`KnownCostSampler` is imported on first use: it needs torch, which takes seconds.
"""

from typing import Any

from nas.samplers.parameters import SpaceExhausted, distribution, suggest

__all__ = ["KnownCostSampler", "SpaceExhausted", "distribution", "suggest"]


def __getattr__(name: str) -> Any:
    if name == "KnownCostSampler":
        from nas.samplers.known_cost import KnownCostSampler

        return KnownCostSampler
    raise AttributeError(name)
