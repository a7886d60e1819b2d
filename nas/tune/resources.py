"""Resources for trainings: this machine, or the nodes of a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

import ray
import torch

from nas.study.resources import ClusterResources, Node
from nas.tune.mps import has_mps
from nas.tune.session import ray_session, usable_cpus

POLL = 1.0  # seconds between two checks of the cluster

Waiting = Callable[[ClusterResources, float], None]
"""Called with the resources so far and the seconds that remain."""


TRIALS_PER_GPU, TRIALS_UNDER_MPS = 4, 8
"""How many trials share a GPU by default, where its memory holds them.

Measured in training steps, not in whole searches: on an H200 2 to 16 trials that take turns train
as many images per second as each other; under NVIDIA MPS 8 train 1.5 to 1.8 times as many as one,
and 16 no more than 8 (docs/benchmarks.md).
"""


def free_gpu_memory() -> float | None:
    """Bytes that are free on the fullest GPU of this machine; None where they are not known.

    `nvidia-smi` gives them: PyTorch would take memory of each GPU to find out.
    """
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        done = subprocess.run(
            command + (["-i", visible] if visible else []),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return min(float(line) for line in done.stdout.splitlines()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def this_machine() -> ClusterResources:
    """CPUs that this process may use and GPUs that PyTorch can use; Ray is not started."""
    here = Node(usable_cpus(), torch.cuda.device_count())
    memory = free_gpu_memory() if here.gpus else None
    trials = TRIALS_UNDER_MPS if has_mps() else TRIALS_PER_GPU
    return ClusterResources((here,), trials, memory)


def find_resources(
    address: str | None,
    enough: Callable[[ClusterResources], bool] = lambda resources: True,
    patience: float = 0.0,
    waiting: Waiting = lambda resources, seconds: None,
) -> ClusterResources:
    """The resources of this machine or of a cluster, once they are enough.

    Args:
        address: of a Ray cluster; None: this machine.
        enough: whether the resources suffice; until then, workers are waited for.
        patience: maximum seconds to wait.
        waiting: called about once a second meanwhile.

    Returns:
        The resources at the end of the wait, enough or not.

    Raises:
        ValueError: no Ray runs at the address.
    """
    if address is None:
        return this_machine()
    end = time.monotonic() + patience
    with ray_session(address):
        while not enough(resources := _nodes()) and (left := end - time.monotonic()) > 0:
            waiting(resources, left)
            time.sleep(min(POLL, left))
        return resources


def _nodes() -> ClusterResources:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [Node(node["CPU"], node.get("GPU", 0.0)) for node in alive if node.get("CPU")]
    return ClusterResources(tuple(nodes), TRIALS_PER_GPU)
