"""Neural architecture search for small ConvNets: the accuracy/FLOPs front of DyClotNet's space."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.version import __version__ as __version__

if TYPE_CHECKING:  # what the lazy names below are to a type checker
    from nas.api import run_search as run_search
    from nas.data.arrays import from_arrays as from_arrays
    from nas.deploy.classifier import load_classifier as load_classifier
    from nas.models import DyClotNet as DyClotNet
    from nas.models import dyclotnet as dyclotnet
    from nas.samplers import KnownCostSampler as KnownCostSampler
    from nas.samplers import suggest as suggest
    from nas.space.arch import Arch as Arch
    from nas.space.arch import table2_arch as table2_arch
    from nas.space.space import Choice as Choice
    from nas.space.space import SearchSpace as SearchSpace
    from nas.study.front_file import load_front as load_front
    from nas.training.pretrained import load_pretrained as load_pretrained

_LAZY = {
    "Arch": "nas.space.arch",
    "Choice": "nas.space.space",
    "DyClotNet": "nas.models",
    "KnownCostSampler": "nas.samplers",
    "SearchSpace": "nas.space.space",
    "dyclotnet": "nas.models",
    "from_arrays": "nas.data.arrays",
    "load_classifier": "nas.deploy.classifier",
    "load_front": "nas.study.front_file",
    "load_pretrained": "nas.training.pretrained",
    "run_search": "nas.api",
    "suggest": "nas.samplers",
    "table2_arch": "nas.space.arch",
}
__all__ = sorted([*_LAZY, "__version__"])


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import nas.space.arch` does not import torch."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
