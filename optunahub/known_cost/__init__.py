"""Known-cost search: multi-objective optimisation where only one objective has to be learned."""

from .pruner import KnownCostPruner
from .sampler import KnownCostSampler, Source

__all__ = ["KnownCostPruner", "KnownCostSampler", "Source"]
