"""How many trainings run at the same time, and the resources of each."""

from __future__ import annotations

from dataclasses import dataclass

from nas.study.resources import ClusterResources
from nas.tune.mps import has_mps

MPS_GAIN = 1.5  # images per second of several trainings / of one; see `nas.tune.resources`


@dataclass(frozen=True)
class Pool:
    """The resources of several trainings."""

    address: str | None  # of a Ray cluster; None: this machine
    concurrency: int  # trainings at the same time
    cpus: float  # of a training
    gpus: float  # of a training
    threads: int  # CPU threads of a training

    @property
    def turns(self) -> float:
        """How many times as long a training takes beside others that share its GPU."""
        sharing = min(self.concurrency, int(1 / self.gpus)) if 0 < self.gpus < 1 else 1
        return max(1.0, sharing / MPS_GAIN) if has_mps() else float(sharing)

    @property
    def in_process(self) -> bool:
        """Whether they run one after the other in this process, without Ray."""
        return self.address is None and self.concurrency == 1


def choose_pool(
    resources: ClusterResources,
    trainings: int,
    *,
    address: str | None = None,
    concurrency: int | None = None,
    gpus: float | None = None,
    threads: int | None = None,
) -> Pool:
    """How many trainings run at the same time, and the resources of each.

    Args:
        resources: of this machine or of the cluster.
        trainings: the maximum number that could run at the same time.
        address: of a Ray cluster; None: this machine.
        concurrency: trainings at the same time; None: one for each GPU, or for each core where
            there is no GPU.
        gpus: of each training; None: an equal share.
        threads: of each training; None: its share of the cores.

    Raises:
        ValueError: there is no room for this many trainings at the same time.
    """
    if concurrency is None:
        if gpus:
            concurrency = resources.fitting(1, gpus)
        else:
            concurrency = int(resources.gpus if gpus is None else 0) or int(resources.cpus)
    concurrency = max(1, min(trainings, concurrency))
    cpus, gpus = resources.share(concurrency, gpus)
    return Pool(address, concurrency, cpus, gpus, threads or max(1, int(cpus)))
