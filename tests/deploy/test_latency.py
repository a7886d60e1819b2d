"""Latency beside a control network, on a machine that becomes slower."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import torch

from benchmarks.latency import agreement, predictability
from nas.deploy.latency import (
    BACKENDS,
    BLOCK_ROUNDS,
    BLOCKS,
    machine_identity,
    measure,
    require_backend,
    time_passes,
)
from nas.models import DyClotNet
from nas.space.arch import Arch


class Machine:
    """A clock that passes advance: `run` costs 3, `control` 2, slower and slower."""

    def __init__(self, drift: float) -> None:
        self.now, self.drift = 0.0, drift

    def cost(self, seconds: float) -> None:
        self.now += seconds * (1 + self.drift * self.now)


@pytest.mark.parametrize("drift", [0, 1e-3, 1e-2])
def test_the_ratio_survives_a_machine_that_slows_down(drift: float) -> None:
    machine = Machine(drift)
    found = time_passes(
        lambda: machine.cost(3e-2), lambda: machine.cost(2e-2), 1, lambda: machine.now
    )
    assert found.relative == pytest.approx(1.5, rel=1e-3)
    assert (found.control_spread > 1e-4) == (drift > 0)
    assert found.noise < 1e-3
    if not drift:
        assert (found.seconds, found.control) == pytest.approx((3e-2, 2e-2))
    assert machine.now > BLOCKS * BLOCK_ROUNDS * 5e-2


def test_the_noise_is_the_standard_error_of_the_ratio() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        machine = Machine(0)
        found.append(
            time_passes(
                lambda m=machine: m.cost(3e-2 * rng.normal(1, 0.05)),
                lambda m=machine: m.cost(2e-2),
                1,
                lambda m=machine: m.now,
            )
        )
    true = np.std([one.relative for one in found]) / 1.5
    assert np.mean([one.noise for one in found]) == pytest.approx(true, rel=0.35)


def test_a_network_is_measured_and_left_as_it_is(tiny_arch: Arch) -> None:
    network = DyClotNet(tiny_arch, 1, 10).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start = time.perf_counter()
    found = measure(network, 8, 1, torch.device("cpu"), batch=3)
    assert 0 < found.seconds < time.perf_counter() - start
    assert min(found.relative, found.control) > 0
    assert (found.batch, found.threads) == (3, 1)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_machine_has_one_name() -> None:
    name = machine_identity(torch.device("cpu"))
    assert name == machine_identity(torch.device("cpu"))
    assert torch.__version__ in name
    assert re.search(r", (1 core|\d+ cores), 1 thread, ", machine_identity(torch.device("cpu"), 1))
    assert ", 2 threads, " in machine_identity(torch.device("cpu"), 2)


def rows(factor: float) -> list[dict[str, object]]:
    return [
        {
            "kind": kind, "arch_id": f"{kind}{macs}", "macs": macs, "seconds": macs * factor,
            "relative": macs * scale, "control": factor, "control_spread": 0.1,
        }
        for kind, scale in (("dct", 1.0), ("pointwise", 2.0))
        for macs in (1, 2, 4, 8)
    ]  # fmt: skip


def test_prediction_apart_and_together() -> None:
    found = predictability(rows(1))
    for kind in ("dct", "pointwise"):
        assert found[kind]["r2"] == pytest.approx(1)
        assert (found[kind]["slope"], found[kind]["off"]) == pytest.approx((1, 1))
    assert found["all"]["r2"] < 0.9
    assert found["all"]["off"] == pytest.approx(2**0.5)


def test_agreement_divides_by_the_control() -> None:
    found = agreement(rows(1), rows(1.5))
    assert (found["networks"], found["relative"]) == (8, 0)
    assert found["seconds"] == pytest.approx(0.5)
    assert found["control_drift"] == pytest.approx(0.4)


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-int8"])
def test_onnx_runtime_measures_the_exported_network(tiny_arch: Arch, backend: str) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = DyClotNet(tiny_arch, 1, 10)
    small, large = (
        measure(network, side, 1, torch.device("cpu"), backend=backend) for side in (8, 64)
    )
    assert 0 < small.seconds < large.seconds  # 64 times the work
    assert small.relative > 0
    cpu = torch.device("cpu")
    machines = {machine_identity(cpu, 1, name) for name in BACKENDS}
    assert len(machines) == 3  # latencies of two never mix
    with pytest.raises(ValueError, match=f"{backend}: measures on the CPU; accepted: pytorch"):
        require_backend(backend, gpu=True)
