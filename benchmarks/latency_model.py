"""How well latencies of unseen networks are predicted from those of a few measured ones.

Run as `python runners/benchmark.py latency-model --json FILE`; an unfinished file is continued.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console

from nas.deploy.latency import machine_identity, measure, require_backend, stored_identity
from nas.deploy.latency_model import LatencyModel, Sizes
from nas.files import write_json
from nas.models import DyClotNet
from nas.progress import shown
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import SearchSpace

SIZES = Sizes(28, 1, 10)  # Fashion-MNIST
LEAST, MOST = 200_000, 20_000_000  # multiply-adds
MEASURED = 30  # networks that the model is fitted to
UNSEEN = 50
SPLITS = 40  # random choices of both

Row = dict[str, Any]


def networks(space: SearchSpace, seed: int = 7) -> list[Arch]:
    """100 networks, one for each hundredth of log multiply-adds, in random order."""
    rng, parts = random.Random(seed), list(range(100))
    random.Random(1).shuffle(parts)
    drawn = []
    for part in parts:
        low, high = (LEAST * (MOST / LEAST) ** ((part + end) / 100) for end in (0, 1))
        while not low <= cost(arch := space.sample(rng), *SIZES).macs <= high:
            pass
        drawn.append(arch)
    return drawn


def errors(rows: Sequence[Row]) -> dict[str, Any]:
    """Median relative errors on unseen networks: the median, least and greatest of `SPLITS`.

    `model` is `LatencyModel`; `macs` a line of log latency over log multiply-adds; `noise` the
    median standard error of a measurement.
    """
    archs = [Arch.from_dict(row["arch"]) for row in rows]
    y, macs = (np.array([row[name] for row in rows]) for name in ("relative", "macs"))
    found: dict[str, list[float]] = {"model": [], "macs": []}
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(rows))
        known, unseen = order[:MEASURED], order[MEASURED : MEASURED + UNSEEN]
        model = LatencyModel([archs[i] for i in known], y[known].tolist(), SIZES)
        line = np.polyfit(np.log(macs[known]), np.log(y[known]), 1)
        predicted = {
            "model": np.array([model.predict(archs[i]) for i in unseen]),
            "macs": np.exp(np.polyval(line, np.log(macs[unseen]))),
        }
        for name, of in predicted.items():
            found[name].append(float(np.median(np.abs(of / y[unseen] - 1))))
    return {name: [median(of), min(of), max(of)] for name, of in found.items()} | {
        "networks": len(rows),
        "noise": median(row["noise"] for row in rows),
    }


def run_and_report(space: Path, backends: Sequence[str], json_path: Path | None) -> dict[str, Any]:
    """Measure on one thread, print the errors, write the figures as JSON after each network.

    Raises:
        ValueError: a backend is not accepted, or the file is of another machine.
    """
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    drawn = networks(SearchSpace.from_yaml(space))[: MEASURED + UNSEEN]
    report: dict[str, Any] = {"measured": MEASURED, "unseen": UNSEEN, "splits": SPLITS}
    if json_path is not None and json_path.exists():
        report = json.loads(json_path.read_bytes())
    console = Console()
    for backend in backends:
        require_backend(backend, gpu=False)
        machine = machine_identity(cpu, 1, backend)
        of = report.setdefault(backend, {"machine": machine, "rows": []})
        if stored_identity(of["machine"]) != machine:
            raise ValueError(f"--json: {json_path} is of {of['machine']}, this is {machine}")
        missing = drawn[len(of["rows"]) :]
        for arch in shown(backend)(missing, len(missing)):
            network = DyClotNet(arch, *SIZES[1:])
            latency = measure(network, *SIZES[:2], cpu, backend=backend)
            row = {"arch": arch.to_dict(), "macs": cost(arch, *SIZES).macs}
            of["rows"].append(row | {"relative": latency.relative, "noise": latency.noise})
            if json_path is not None:
                write_json(json_path, report)
        of["errors"] = errors(of["rows"])
        if json_path is not None:
            write_json(json_path, report)
        for name, (middle, least, greatest) in (
            (name, of["errors"][name]) for name in ("model", "macs")
        ):
            console.print(
                f"{backend}, {name}: median error {100 * middle:.1f} % on {UNSEEN} unseen networks "
                f"after {MEASURED} measured ones ({100 * least:.1f} to {100 * greatest:.1f} over "
                f"{SPLITS} splits; noise of a measurement {100 * of['errors']['noise']:.1f} %)",
                highlight=False,
            )
    return report
