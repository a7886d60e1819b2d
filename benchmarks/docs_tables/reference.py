"""Tables of the reference run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.docs_tables.markdown import REFERENCE, read, table
from benchmarks.end_to_end import REFERENCE_ERROR
from nas.format import format_count
from nas.pareto import hypervolume
from nas.report.comparison_plots import comparison_rows
from nas.retrain.comparison import SUMMARY
from nas.retrain.differences import mean_difference
from nas.retrain.statistics import Noise, estimate_noise

POINTWISE = REFERENCE / "pointwise"  # the search without DCT
SEARCHES = {
    "seed 0": REFERENCE,
    "seed 1": REFERENCE / "seed-1",
    "seed 2": REFERENCE / "seed-2",
    "pointwise only, seed 0": POINTWISE,
}
BUDGETS = (500_000, 1_000_000, 2_000_000, 4_000_000)  # multiply-adds; the last is the limit

# The means that are reported: their name, and the kinds of pairs that they are of.
SEARCHED_DCT, SEARCHED_POINTWISE = "DCT", "pointwise"
MEANS = {
    "pairs found with DCT": {SEARCHED_DCT},
    "pairs found without DCT": {SEARCHED_POINTWISE},
    "pairs of both kinds": {SEARCHED_DCT, SEARCHED_POINTWISE},
}

Row = dict[str, Any]


def reference_searches() -> str:
    """What each of the searches found, and what it cost."""
    fronts = {name: _front(folder) for name, folder in SEARCHES.items()}
    union = _volume([entry for front in fronts.values() for entry in front])
    cheapest = min(entry["macs"] for entry in _front(POINTWISE))
    lines = []
    for name, folder in SEARCHES.items():
        trials = pd.read_csv(folder / "trials.csv", parse_dates=["started", "ended"])
        minutes = (trials["ended"].max() - trials["started"].min()).total_seconds() / 60
        front = fronts[name]
        others = [entry for entry in front if entry["macs"] >= cheapest]
        within = [[e["estimate"] for e in front if e["macs"] <= budget] for budget in BUDGETS]
        lines.append([
            name, f"{minutes:.0f}", str((trials["state"] == "pruned").sum()), str(len(front)),
            f"{_volume(front) / union:.3f}",
            f"{_volume(others) / union:.3f}", *(f"{100 * max(found):.1f} %" for found in within),
        ])  # fmt: skip
    return table(
        ["search", "minutes", "stopped early", "on the front", "hypervolume, of all together",
         f"without networks below {format_count(cheapest)}",
         *(f"best within {format_count(budget)}" for budget in BUDGETS)],
        lines,
    )  # fmt: skip


def reference_overlap() -> str:
    """How many members of one search's front another one found, and what all have in common."""
    fronts = [_front(folder) for folder in SEARCHES.values() if folder != POINTWISE]
    found = Counter(arch for front in fronts for arch in {entry["arch_id"] for entry in front})
    shared = sum(count > 1 for count in found.values())
    blocks = [
        stage["expansion"] for front in fronts for e in front for stage in e["arch"]["stages"]
    ]
    return (
        f"Of the {len(found)} networks on the fronts of the {len(fronts)} searches, {shared} are "
        f"on more than one; {100 * blocks.count('dct') / len(blocks):.0f} % of their stages expand "
        "with DCT.\n"
    )


def reference_costs() -> str:
    """Core-hours of the whole run: trainings use one thread each."""
    lines: list[tuple[str, int, float]] = []
    for name, folder in SEARCHES.items():
        trials = pd.read_csv(folder / "trials.csv")
        lines.append((f"search: {name}", len(trials), trials["seconds"].sum() / 3600))
    histories = [
        path
        for home in (REFERENCE, POINTWISE)
        for path in (home / "retrained").glob("**/history.csv")
    ]
    tried = [path for path in histories if "learning-rates" in path.parts]
    lines.append(("learning rates that were not chosen", *_training(tried)))
    lines.append(("the networks compared", *_training([p for p in histories if p not in tried])))
    lines.append(("**all**", sum(line[1] for line in lines), sum(line[2] for line in lines)))
    return table(
        ["what", "trainings", "core-hours"],
        ([what, str(number), f"{hours:.2f}"] for what, number, hours in lines),
    )


def reference_networks() -> str:
    """Test accuracies of the reference run, with 95 % intervals."""
    noise = reference_noise_of_seeds()
    columns = ("network", "family", "macs", "params", "learning_rate", "seeds")
    lines = []
    for summary in _summaries():
        for row, texts in zip(summary["networks"], comparison_rows(summary), strict=True):
            low, high = noise.interval(row["test_accuracies"])
            accuracy = f"{100 * row['test_accuracy']:.2f} % ({100 * low:.2f}–{100 * high:.2f})"
            lines.append([*(texts[column] for column in columns), accuracy])
    return table(
        ["network", "", "FLOPs", "parameters", "learning rate", "seeds", "test accuracy"], lines
    )


def reference_differences() -> str:
    """DCT less the other network of equal cost, with intervals: alone, and for all jointly."""
    noise, comparisons = reference_noise_of_seeds(), len(reference_pairs()) + len(MEANS)
    lines = [
        [f"{first['name']} − {second['name']}", f"{second['macs'] / first['macs']:.2f}",
         *_figures([(first, second)], noise, comparisons)]
        for _, first, second in reference_pairs()
    ] + [
        [f"**mean of the {len(pairs)} {title}**", "", *_figures(pairs, noise, comparisons)]
        for title, pairs in reference_means().items()
    ]  # fmt: skip
    return table(
        ["difference", "FLOPs, second / first", "points", "fewer errors (95 % interval)",
         f"adjusted for {comparisons} comparisons"],
        lines,
    )  # fmt: skip


def reference_pairs() -> list[tuple[str, Row, Row]]:
    """The networks that are compared: the kind of pair, the one with DCT, the other one."""
    pairs = []
    for summary in _summaries():
        rows = {row["name"]: row for row in summary["networks"]}
        for difference in summary["differences"]:
            searched, reference = rows[difference["network"]], rows[difference["reference"]]
            if reference["family"] == "dct-twin":
                pairs.append((SEARCHED_POINTWISE, reference, searched))
            else:
                pairs.append((SEARCHED_DCT, searched, reference))
    return pairs


def reference_means() -> dict[str, list[tuple[Row, Row]]]:
    """The pairs of each mean, by its name."""
    return {
        title: [(first, second) for kind, first, second in reference_pairs() if kind in kinds]
        for title, kinds in MEANS.items()
    }


def reference_noise_of_seeds() -> Noise:
    """Of log errors between seeds of a network, pooled over all networks of the run."""
    rows = [row for summary in _summaries() for row in summary["networks"]]
    return estimate_noise([row["test_accuracies"] for row in rows], rows[0]["test_images"])


def reference_noise() -> str:
    """Where the intervals come from."""
    noise = reference_noise_of_seeds()
    assert noise.sd is not None
    return (
        f"Intervals are from the standard deviation of log errors between seeds, {noise.sd:.3f} "
        f"pooled over all networks ({noise.degrees:g} degrees of freedom): {100 * noise.sd:.1f} % "
        "of a network's errors. They hold for these networks: how much others would differ is not "
        "in them.\n"
    )


def reference_60_epochs() -> str:
    """The network that was trained for the whole recipe."""
    (folder,) = (REFERENCE / "60-epochs" / "retrained").glob("*/")
    metrics = read(folder / "metrics.json")
    return table(
        ["network", "FLOPs", "parameters", "epochs", "seeds", "test accuracy"],
        [[folder.name, format_count(metrics["macs"]), format_count(metrics["params"]),
          str(metrics["epochs"]), "1", f"{100 * metrics['test_accuracy']:.2f} %"]],
    )  # fmt: skip


def _figures(pairs: Sequence[tuple[Row, Row]], noise: Noise, comparisons: int) -> list[str]:
    """A mean difference in points, and the share of fewer errors with its two intervals."""
    row = mean_difference(pairs, noise, comparisons)
    names = ("fewer_errors", "low", "high", "joint_low", "joint_high")
    fewer, *ends = (f"{100 * row[name]:.1f}" for name in names)
    return [
        f"{100 * row['difference']:+.2f}",
        f"{fewer} % ({ends[0]} to {ends[1]})",
        f"{ends[2]} to {ends[3]}",
    ]


def _summaries() -> list[dict[str, Any]]:
    """Of the networks that were found with DCT, and of those found without."""
    return [read(home / "retrained" / SUMMARY) for home in (REFERENCE, POINTWISE)]


def _front(folder: Path) -> list[Row]:
    entries: list[Row] = read(folder / "front.json")["architectures"]
    return entries


def _volume(front: Iterable[Row]) -> float:
    """Hypervolume of estimates, in log10 multiply-adds and error, up to the limit and guessing."""
    points = np.array([[math.log10(e["macs"]), 1 - e["estimate"]] for e in front])
    return hypervolume(points, np.array([math.log10(BUDGETS[-1]), REFERENCE_ERROR]))


def _training(histories: Sequence[Path]) -> tuple[int, float]:
    """Number of trainings, and their hours."""
    seconds = [pd.read_csv(path)["seconds"].iloc[-1] for path in histories]
    return len(histories), float(sum(seconds)) / 3600
