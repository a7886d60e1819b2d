"""What there is to train on: this machine, or the nodes of a Ray cluster, once they are up."""

from __future__ import annotations

import time
from collections.abc import Callable

import ray
import torch

from nas.study.resources import ClusterResources, Node
from nas.tune.session import ray_session, usable_cpus

POLL = 1.0  # seconds between two looks at a cluster whose workers are waited for

Waiting = Callable[[ClusterResources, float], None]
"""Told what is there, and how many seconds more are waited."""


def trials_per_gpu() -> int:
    """How many trials share a GPU where the user does not say."""
    return 4


def this_machine() -> ClusterResources:
    """CPUs that this process may use, and GPUs that PyTorch can use; Ray is not started."""
    here = Node(usable_cpus(), torch.cuda.device_count())
    return ClusterResources((here,), trials_per_gpu())


def find_resources(
    address: str | None,
    enough: Callable[[ClusterResources], bool] = lambda there: True,
    patience: float = 0.0,
    waiting: Waiting = lambda there, seconds: None,
) -> ClusterResources:
    """What trials can run on; a cluster is only read.

    Args:
        address: of a Ray cluster; None: this machine.
        enough: whether work can start; workers are waited for until it can.
        patience: seconds that they are waited for, at the most.
        waiting: called about once a second while they are.

    Returns:
        What is there, whether or not it is enough.

    Raises:
        ValueError: there is no Ray at the address.
    """
    if address is None:
        return this_machine()
    end = time.monotonic() + patience
    with ray_session(address):
        while not enough(there := _nodes()) and (left := end - time.monotonic()) > 0:
            waiting(there, left)
            time.sleep(min(POLL, left))
        return there


def _nodes() -> ClusterResources:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [Node(node["CPU"], node.get("GPU", 0.0)) for node in alive if node.get("CPU")]
    return ClusterResources(tuple(nodes), trials_per_gpu())
