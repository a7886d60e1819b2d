"""Known-cost search: multi-objective optimisation where only one objective has to be learned."""

from nas.samplers import Source

from .pruner import KnownCostPruner
from .sampler import KnownCostSampler

__all__ = ["KnownCostPruner", "KnownCostSampler", "Source"]
