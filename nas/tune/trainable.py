"""The trainable of Ray Tune: an actor that trains one architecture after another."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray
import torch
from ray import tune

from nas.data import SearchData
from nas.deploy.latency import BACKENDS, Latency, machine_identity, measure
from nas.models.native.build import why_unavailable
from nas.space.arch import Arch
from nas.stopping.right_images import encode
from nas.study.trial_state import OVER_LATENCY
from nas.training import Diverged, Recipe, Trainer, build
from nas.tune.searcher import ACTOR_SPENT, OUT_OF_MEMORY

DIVERGED = "diverged"

logger = logging.getLogger(__name__)


class ActorSpent(RuntimeError):
    """The process of this actor ran out of memory and must be replaced."""


class OtherMachine(RuntimeError):
    """The worker is not on the machine on which the study measures latency."""


class TrainingTrial(tune.Trainable):  # type: ignore[misc]
    """Trains to the next rung at each step and reports the validation accuracy.

    The configuration of a trial is `arch` (canonical JSON) and `seed`. A result holds `epochs`,
    `accuracy` and `seconds`; `losses` of the epochs so far and `right`, which validation images
    were classified right at each rung; `latency_ratio`, `latency_noise` and `latency_control` where
    latency is measured (see `nas.study.measurement.Measurement`); `reason` if the trial failed; and
    `notice` if the node trains more slowly than it could. An error inside a trial is reported as a
    result, so that the actor survives it.
    """

    def setup(
        self,
        config: dict[str, Any],
        data: SearchData,
        recipe: Recipe,
        rungs: tuple[int, ...],
        threads: int,
        machine: str | None,
        backend: str | None = None,
        max_latency: float | None = None,
        quantized: bool = False,
    ) -> None:
        """Store what all trials of this actor share.

        Args:
            config: of the first trial.
            data: the splits, from Ray's object store.
            recipe: of the trainings.
            rungs: epochs at which the accuracy is reported.
            threads: CPU threads of a training.
            machine: on which latency is measured; None: it is not measured.
            backend: one of `nas.deploy.latency.BACKENDS`, where it is measured.
            max_latency: seconds; a network that takes longer is not trained.
            quantized: whether accuracies are those of the networks in int8.
        """
        self._data, self._recipe, self._rungs = data, recipe, rungs
        self._quantized = quantized
        self._threads, self._machine = threads, machine
        self._backend, self._max_latency = backend or BACKENDS[0], max_latency
        self._device = torch.device("cuda" if _has_gpu() else "cpu")
        self._usable = True
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare for the next trial.

        Raises:
            ActorSpent: an earlier trial ran out of memory; Tune then starts a new actor. If
                this method returned False, Tune would drop the trial without a callback.
        """
        if not self._usable:
            raise ActorSpent(ACTOR_SPENT)
        self._config = new_config
        self._trainer: Trainer | None = None
        self._seconds = 0.0
        self._losses: list[float] = []
        self._right: list[tuple[int, str]] = []
        self._latency: Latency | None = None
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next rung and evaluate there."""
        start = time.perf_counter()
        result: dict[str, Any] = {"reason": None, "done": True}
        try:
            if self._trainer is None:
                self._require_machine()
                self._trainer = self._build()
                if self._max_latency is not None and self._over_latency(result):
                    return result
            trainer = self._trainer
            rung = next(rung for rung in self._rungs if rung > trainer.epoch)
            while trainer.epoch < rung:
                self._losses.append(trainer.train_epoch())
            result["accuracy"] = trainer.evaluate()
            result["epochs"] = trainer.epoch
            self._right.append((trainer.epoch, encode(trainer.right)))
            result |= {"losses": [*self._losses], "right": [*self._right]}
            result["done"] = trainer.epoch >= self._rungs[-1]
            if result["done"] and self._machine is not None:
                self._latency = self._latency or self._measure()
            if self._latency is not None:  # also of a trial that is about to be stopped
                result |= {
                    "latency_ratio": self._latency.relative,
                    "latency_noise": self._latency.noise,
                    "latency_control": self._latency.control,
                }
        except Diverged:
            result["reason"] = DIVERGED
        except Exception as error:
            logger.exception("trial failed")
            result["reason"] = _reason(error)
            if result["reason"] == OUT_OF_MEMORY:
                self._trainer, self._usable = None, False
        result["notice"] = why_slow(self._device)
        self._seconds += time.perf_counter() - start
        result["seconds"] = self._seconds
        return result

    def cleanup(self) -> None:
        """Free the network."""
        self._trainer = None

    def _measure(self) -> Latency:
        assert self._trainer is not None
        info = self._data.info
        sizes = (info.image_size, info.in_channels)
        return measure(self._trainer.network, *sizes, self._device, backend=self._backend)

    def _over_latency(self, result: dict[str, Any]) -> bool:
        """Measure the network before its training: weights do not change how long it takes."""
        self._latency = self._measure()
        control = self._config.get("control") or self._latency.control
        result["latency"] = self._latency.relative * control
        if result["latency"] <= self._max_latency:
            return False
        self._trainer = None
        result |= {"reason": OVER_LATENCY, "notice": None, "seconds": 0.0}
        return True

    def _require_machine(self) -> None:
        """Refuse to measure latency on another machine than the study's."""
        here = machine_identity(self._device, self._threads, self._backend)
        if self._machine not in (None, here):
            raise OtherMachine(f"latency is measured on {self._machine}, this is {here}")

    def _build(self) -> Trainer:
        seed = int(self._config["seed"])
        arch = Arch.from_json(self._config["arch"])
        network = build(arch, self._data.info, seed)
        return Trainer(
            *(network, self._data, self._recipe),
            seed=seed,
            device=self._device,
            threads=self._threads,
            quantized=self._quantized,
        )


def _reason(error: Exception) -> str:
    """`OUT_OF_MEMORY`, or the type and the first line of the error."""
    line = (str(error).splitlines() or [""])[0]
    # On the CPU PyTorch raises a RuntimeError whose message names its allocator.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in line:
        return OUT_OF_MEMORY
    return f"{type(error).__name__}: {line}"[:200]


def why_slow(device: torch.device) -> str | None:
    """Why this process trains more slowly than its node could; None if it does not."""
    if device.type != "cpu":
        return None
    if ray.is_initialized() and ray.get_gpu_ids():
        return "its GPU cannot be used by PyTorch, trains on the CPU: see nvidia-smi for the driver"
    reason = why_unavailable()
    return reason and f"trains with PyTorch's own operators, which are slower: {reason}"


def _has_gpu() -> bool:
    """Whether Ray has assigned a GPU, or a share of one, to this actor."""
    # `get_gpu_ids` would start a Ray where there is none.
    return ray.is_initialized() and bool(ray.get_gpu_ids()) and torch.cuda.is_available()
