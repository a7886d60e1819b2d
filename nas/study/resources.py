"""What trials run on, as plain data: the nodes of a cluster, and how many trials fit there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas.format import format_number

ROUNDING = 1e-9  # 1 // 0.1 is 9


@dataclass(frozen=True)
class Node:
    """A machine of a cluster."""

    cpus: float  # over 0
    gpus: float = 0.0

    def fitting(self, cpus: float, gpus: float) -> int:
        """How many trials that need so many CPUs and GPUs each fit here at once.

        Args:
            cpus: over 0.
            gpus: a share of one GPU, or a whole number of them.
        """
        fitting = math.floor(self.cpus / cpus + ROUNDING)
        if gpus >= 1:
            return min(fitting, int(self.gpus // gpus))
        if gpus > 0:  # a trial has its share of one GPU
            return min(fitting, int(self.gpus) * math.floor(1 / gpus + ROUNDING))
        return fitting


@dataclass(frozen=True)
class ClusterResources:
    """The nodes that trials run on: this machine alone, or those of a Ray cluster."""

    nodes: Sequence[Node]
    trials_per_gpu: int  # that share a GPU where the user does not say how many
    gpu_memory: float | None = None  # bytes that are free on each GPU; None: not known

    @property
    def cpus(self) -> float:
        """CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)

    def fitting(self, cpus: float, gpus: float) -> int:
        """How many trials fit at once, none of them divided among nodes; see `Node.fitting`."""
        return sum(node.fitting(cpus, gpus) for node in self.nodes)

    def sharing(self, bytes_each: float) -> int:
        """How many trials share a GPU: `trials_per_gpu`, or fewer where memory holds fewer.

        Args:
            bytes_each: GPU memory of one trial.
        """
        if self.gpu_memory is None:
            return self.trials_per_gpu
        return max(1, min(self.trials_per_gpu, int(self.gpu_memory / bytes_each)))

    def share(self, trials: int, gpus: float | None = None) -> tuple[float, float]:
        """The largest equal shares, (CPUs, GPUs), with which so many trials fit at once.

        Args:
            trials: 1 or more.
            gpus: of each; None: whole ones, or an equal part of one; 0 where there is none.

        Raises:
            ValueError: so many do not fit, or there is no worker.
        """
        if not self.nodes:
            raise ValueError("Ray has no worker; accepted: a cluster with one, see ray start")
        if gpus is None and self.gpus:
            wanted = [float(n) for n in range(int(max(n.gpus for n in self.nodes)), 0, -1)]
            wanted += [1 / n for n in range(2, trials + 1)]
            gpus = next(g for g in wanted if self.fitting(ROUNDING, g) >= trials)
        shares = {node.cpus / n for node in self.nodes for n in range(1, trials + 1)}
        gpus = gpus or 0.0
        if self.fitting(ROUNDING, gpus) < trials:
            raise ValueError(
                f"--gpus-per-trial {gpus:g}: no room for {format_number(trials, 'training')} at a "
                f"time in {self}; "
                f"accepted: at most {self.fitting(ROUNDING, gpus)} at a time"
            )
        return max(c for c in shares if self.fitting(c, gpus) >= trials), gpus

    def __str__(self) -> str:
        if not self.nodes:
            return "no worker"
        have = f"{format_number(self.cpus, 'CPU')} and {format_number(self.gpus, 'GPU')}"
        return have if len(self.nodes) == 1 else f"{len(self.nodes)} nodes, in all {have}"


def require_gpu_share(gpus: float | None) -> None:
    """Raise ValueError unless it is a part of a GPU or some whole ones; None is any."""
    if gpus is not None and not (0 <= gpus <= 1 or (gpus <= 64 and gpus % 1 == 0)):
        raise ValueError(f"--gpus-per-trial {gpus:g}: accepted: 0 to 1, or a whole number up to 64")
