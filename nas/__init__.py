"""Neural architecture search for small ConvNets: the accuracy/FLOPs front of DyClotNet's space."""

from __future__ import annotations

from importlib import import_module
from typing import Any

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
__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import nas.space.arch` does not import torch."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
