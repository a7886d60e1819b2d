"""How well multiply-adds predict latency, for DCT and for pointwise networks.

Run as `python runners/benchmark.py latency --json FILE`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats

from nas.deploy.latency import machine_identity, measure, stored_identity
from nas.files import write_json
from nas.format import format_count
from nas.models import DyClotNet
from nas.progress import shown
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import SearchSpace

KINDS = ("dct", "pointwise")
IMAGE_SIZE, IN_CHANNELS, CLASSES = 28, 1, 10  # Fashion-MNIST
LEAST, MOST = 200_000, 20_000_000  # multiply-adds

Row = dict[str, Any]


def pairs(space: SearchSpace, count: int, seed: int = 0) -> list[tuple[str, Arch]]:
    """`count` networks: half with DCT in every stage, half their pointwise twins.

    They are spread evenly over the logarithm of multiply-adds, from `LEAST` to `MOST`.
    """
    rng = random.Random(seed)
    networks: list[tuple[str, Arch]] = []
    bins = count // 2
    for index in range(bins):
        low, high = (LEAST * (MOST / LEAST) ** ((index + end) / bins) for end in (0, 1))
        while True:
            dct = _all_dct(space.sample(rng))
            if low <= _macs(dct) <= high:
                break
        twin = replace(
            dct, stages=tuple(replace(s, expansion="pointwise", hidden=None) for s in dct.stages)
        )
        networks += [("dct", dct), ("pointwise", twin)]
    return networks


def measure_all(
    networks: Iterable[tuple[str, Arch]], device: torch.device, batch: int, compiled: bool
) -> list[Row]:
    """Latency of each network, with random weights, beside the control network's."""
    rows = []
    for kind, arch in networks:
        network = DyClotNet(arch, IN_CHANNELS, CLASSES)
        latency = measure(network, IMAGE_SIZE, IN_CHANNELS, device, batch, compiled)
        rows.append({"kind": kind, "arch_id": arch.arch_id, "macs": _macs(arch)} | asdict(latency))
    return rows


def predictability(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """How well multiply-adds predict latency, by kind and for all networks.

    `spearman`; `slope` and `r2` of a line through log latency over log multiply-adds; `off`,
    the median factor of its error.
    """
    result = {}
    for kind in (*KINDS, "all"):
        chosen = [row for row in rows if kind in (row["kind"], "all")]
        x = np.log([row["macs"] for row in chosen])
        y = np.log([row["relative"] for row in chosen])
        line = stats.linregress(x, y)
        errors = np.abs(y - line.intercept - line.slope * x)
        result[kind] = {
            "networks": len(chosen),
            "spearman": float(stats.spearmanr(x, y).statistic),
            "slope": float(line.slope),
            "r2": float(line.rvalue**2),
            "off": float(np.exp(np.median(errors))),
        }
    return result


def agreement(first: Sequence[Row], second: Sequence[Row]) -> dict[str, float]:
    """Two measurements of the same networks: median differences, as shares.

    `relative` divides by the control network, `seconds` does not; `control_spread` is the
    control's interquartile range over its median, the median over the networks, and
    `control_drift` the range of its medians over their median.
    """
    before = {row["arch_id"]: row for row in first}
    both = [(before[row["arch_id"]], row) for row in second if row["arch_id"] in before]
    if not both:
        raise ValueError("--against: holds none of these networks; accepted: a --json of the same")
    controls = [row["control"] for pair in both for row in pair]

    def differ(name: str) -> float:
        return float(median(abs(two[name] / one[name] - 1) for one, two in both))

    return {
        "networks": len(both),
        "relative": differ("relative"),
        "seconds": differ("seconds"),
        "control_spread": median(row["control_spread"] for pair in both for row in pair),
        "control_drift": (max(controls) - min(controls)) / median(controls),
    }


def run_and_report(
    space: Path,
    networks: int,
    batch: int,
    compiled: bool,
    against: Path | None,
    json_path: Path | None,
) -> dict[str, Any]:
    """Measure on one thread (or the GPU), print tables, write the figures as JSON.

    Raises:
        ValueError: `against` cannot be read, or is of another machine or batch size.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)  # part of the machine's identity
    machine = machine_identity(device)
    before = None if against is None else _read(against, machine, batch)
    chosen = pairs(SearchSpace.from_yaml(space), networks)
    rows = measure_all(shown("networks")(chosen, len(chosen)), device, batch, compiled)
    report: dict[str, Any] = {
        "machine": machine,
        "batch": batch,
        "threads": 1,
        "compiled": compiled,
        "image_size": IMAGE_SIZE,
        "predictability": predictability(rows),
        "rows": rows,
    }
    if before is not None:
        report["agreement"] = agreement(before["rows"], rows)
    _show(report)
    if json_path is not None:
        write_json(json_path, report)
    return report


def _read(path: Path, machine: str, batch: int) -> dict[str, Any]:
    try:
        earlier: dict[str, Any] = json.loads(path.read_bytes())
        recorded = (stored_identity(earlier["machine"]), earlier["batch"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--against: {path} cannot be read ({type(error).__name__})") from None
    if recorded != (machine, batch):
        raise ValueError(
            f"--against: {path} was measured on {recorded[0]} at batch {recorded[1]}, this is "
            f"{machine} at batch {batch}; latencies of two machines do not compare"
        )
    return earlier


def _show(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"Latency, batch {report['batch']}, {report['machine']}")
    for name in ("kind", "FLOPs (multiply-adds)", "milliseconds", "of control", "noise"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for row in report["rows"]:
        table.add_row(
            row["kind"],
            format_count(row["macs"]),
            f"{1e3 * row['seconds']:.2f}",
            f"{row['relative']:.3f}",
            f"{100 * row['noise']:.0f} %",
        )
    console.print(table)
    for kind, of in report["predictability"].items():
        console.print(
            f"{kind}: latency over FLOPs, Spearman {of['spearman']:.3f}, R² of the logarithms "
            f"{of['r2']:.3f} (slope {of['slope']:.2f}), median error a factor of {of['off']:.2f}, "
            f"{of['networks']} networks",
            highlight=False,
        )
    if "agreement" in report:
        of = report["agreement"]
        console.print(
            f"again: {of['networks']} networks differ by {100 * of['relative']:.1f} % in the "
            f"median after division by the control ({100 * of['seconds']:.1f} % without); the "
            f"control's own spread is {100 * of['control_spread']:.1f} % within a measurement, "
            f"its drift {100 * of['control_drift']:.1f} %",
            highlight=False,
        )


def _all_dct(arch: Arch) -> Arch:
    """The same stages with DCT in each; a recalibrator of N // 4 where there was none."""
    return replace(
        arch,
        stages=tuple(
            replace(stage, expansion="dct", hidden=stage.hidden or max(1, stage.width // 4))
            for stage in arch.stages
        ),
    )


def _macs(arch: Arch) -> int:
    return cost(arch, IMAGE_SIZE, IN_CHANNELS, CLASSES).macs
