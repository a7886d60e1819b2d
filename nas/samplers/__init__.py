"""Optuna samplers of this project, and the parameters of its studies.

`KnownCostSampler` is imported on first use: SciPy's optimiser takes a second to import.
"""

from typing import TYPE_CHECKING, Any

from nas.samplers.parameters import SpaceExhausted, distribution, suggest
from nas.samplers.sources import Source

if TYPE_CHECKING:
    from nas.samplers.known_cost import KnownCostSampler

__all__ = ["KnownCostSampler", "Source", "SpaceExhausted", "distribution", "suggest"]


def __getattr__(name: str) -> Any:
    if name == "KnownCostSampler":
        from nas.samplers.known_cost import KnownCostSampler

        return KnownCostSampler
    raise AttributeError(name)
