"""The GPU share of a trial, and how many trials run at the same time."""

from __future__ import annotations

from nas.data import SearchData
from nas.format import format_number
from nas.space.arch import Arch
from nas.study.config import StudyConfig
from nas.study.request import Request
from nas.study.resources import ClusterResources
from nas.training.memory import training_bytes


def choose_gpu_share(request: Request, resources: ClusterResources, *, timed: bool) -> float:
    """GPUs of a trial: what was asked for, else a share of one where there is any.

    Args:
        request: what a user asks for.
        resources: what trials run on.
        timed: whether latency is measured: such a trial has a GPU of its own.

    Raises:
        ValueError: trials that share a GPU were asked for, and latency is measured.
    """
    gpus = request.gpus_per_trial
    if gpus is None:
        sharing = 1 if timed else resources.trials_per_gpu
        return 1 / sharing if resources.gpus else 0.0
    if timed and 0 < gpus < 1:
        raise ValueError(
            f"--gpus-per-trial {gpus:g}: trials that share a GPU slow down each other's latency; "
            "accepted: 1 with latency as an objective or limit, or neither"
        )
    return gpus


def gpu_share_by_memory(
    resources: ClusterResources, config: StudyConfig, data: SearchData, largest: Arch
) -> float:
    """The share of a GPU with which trials of the space's largest network fit into its memory."""
    # Images of a data set that is read from a file do not stay on the GPU.
    images = sum(len(split) for split in (data.train, data.val) if split.file is None)
    return 1 / resources.sharing(training_bytes(largest, config.dataset, config.recipe, images))


def choose_concurrency(request: Request, gpus: float, resources: ClusterResources) -> int:
    """Trials at once: as many as were asked for, else as many as fit.

    Raises:
        ValueError: not even one fits, or fewer than were asked for.
    """
    cpus = request.cpus_per_trial
    if not resources.nodes:
        raise ValueError(
            f"--ray-address {request.ray_address}: Ray has no worker; accepted: a cluster with "
            "workers, waited for with --wait-for-workers"
        )
    fitting = resources.fitting(cpus, gpus)
    if fitting < max(1, request.concurrency or 1):
        if fitting:
            asked = f"--concurrency {request.concurrency}"
        elif not any(node.fitting(cpus, 0) for node in resources.nodes):
            asked = f"--cpus-per-trial {cpus:g}"
        else:
            asked = f"--gpus-per-trial {gpus:g}"
        accepted = (
            f"{format_number(fitting, 'such trial')} at a time"
            if fitting
            else "what one machine has"
        )
        where = "this machine" if request.ray_address is None else "Ray"
        raise ValueError(
            f"{asked}: a trial needs {format_number(cpus, 'CPU')} and "
            f"{format_number(gpus, 'GPU')}, {where} has {resources}; "
            f"accepted: at most {accepted}"
        )
    return request.concurrency or fitting
