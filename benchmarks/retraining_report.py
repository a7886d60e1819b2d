"""Prints the retraining benchmark and writes its figures.

Run as `python runners/benchmark.py retraining --json FILE`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.retraining import (
    ADAPTED,
    FULL,
    KEY,
    LENGTHS,
    QUICK_NETWORKS,
    RATES,
    SHORT,
    jobs,
    measure,
    recorded_grids,
    setting,
)
from benchmarks.retraining_data import FRONT, SMALL, THREE_NETWORKS
from benchmarks.retraining_ideas import BASE
from benchmarks.rows import RowFile
from nas.format import format_number
from nas.progress import shown
from nas.retrain.comparison import SUMMARY
from nas.retrain.differences import mean_difference
from nas.retrain.references import EQUAL_COST_TWIN
from nas.retrain.statistics import estimate_noise

TEST_IMAGES = 10_000  # of Fashion-MNIST
LENGTH_NAMES = [f"{epochs} epochs" for epochs in LENGTHS]
PARTS = ("small", "ideas", "long-ideas", "rates", "quick-ideas", "lengths")


def run_and_report(
    parts: Sequence[str], seeds: int, data_dir: Path, workers: int, json_path: Path | None
) -> None:
    """Train everything; an unfinished file is continued.

    Raises:
        ValueError: a part is unknown, or the file is of another setting.
    """
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"--parts: {part!r}; accepted: {', '.join(PARTS)}")
    file = RowFile(json_path, setting(), KEY)
    measure(jobs(parts, seeds), file, data_dir, workers, shown("trainings"))
    console = Console(width=None if Console().is_terminal else 130)
    for rows in (small_rows, idea_rows, long_idea_rows, quick_idea_rows, length_rows, rate_rows):
        if lines := rows(file):
            table = Table(*lines[0])
            for line in lines[1:]:
                table.add_row(*line)
            console.print(table)


def small_rows(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A heading, and mean test accuracies of each data set and network by each recipe."""
    small = [row for row in rows if row["part"] == "small"]
    lines = []
    for data in SMALL:
        for network in dict.fromkeys(row["network"] for row in small):
            means, seeds, images = [], 0, 0
            for recipe in (SHORT, FULL, ADAPTED):
                found = [
                    row
                    for row in small
                    if (row["data"], row["network"], row["recipe"]) == (data, network, recipe)
                ]
                seeds, images = len(found), found[0]["images"] if found else images
                means.append(_spread([row["accuracy"] for row in found]))
            if seeds:
                lines.append([f"{data}, {images} images", network, str(seeds), *means])
    heading = ["training images", "network", "seeds", SHORT, FULL, ADAPTED]
    return [heading, *lines] if lines else []


def _spread(accuracies: list[float]) -> str:
    if not accuracies:
        return "–"
    mean = f"{100 * fmean(accuracies):.1f} %"
    if len(accuracies) == 1:
        return mean
    return f"{mean} ({100 * min(accuracies):.1f} to {100 * max(accuracies):.1f})"


def idea_rows(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A heading, and the difference from the recipe `full` for each idea, paired.

    The time of a teacher is divided among the networks that it teaches.
    """
    lines = []
    for idea, pairs in _pairs(rows, "ideas"):
        if idea == BASE:
            continue
        points = [100 * (row["accuracy"] - other["accuracy"]) for row, other in pairs]
        error = stdev(points) / math.sqrt(len(points))
        taught = len({row["network"] for row, _ in pairs})
        times = fmean(
            (row["seconds"] + row.get("teacher_seconds", 0.0) / taught) / other["seconds"]
            for row, other in pairs
        )
        lines.append([idea, str(len(pairs)), f"{fmean(points):+.2f} ± {error:.2f}", f"{times:.2f}"])
    heading = ["changed", "pairs", "points ± standard error", "time / that of full"]
    return [heading, *lines] if lines else []


def long_idea_rows(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A heading, and differences from the recipe with averaged weights, after the whole training.

    Each idea has the accuracy of the averaged weights and that of the last step's.
    """
    lines = []
    for idea, pairs in _pairs(rows, "long-ideas"):
        points = [
            [100 * (row[weights][-1] - other["averaged"][-1]) for row, other in pairs]
            for weights in ("averaged", "last")
        ]
        texts = [f"{fmean(one):+.2f} ± {stdev(one) / math.sqrt(len(one)):.2f}" for one in points]
        times = fmean(row["seconds"] / other["seconds"] for row, other in pairs)
        averaged = "–" if idea == BASE else texts[0]
        name = "nothing" if idea == BASE else idea
        lines.append([name, str(len(pairs)), averaged, texts[1], f"{times:.2f}"])
    heading = [
        *("changed", "pairs", "points, averaged weights", "points, last weights"),
        "time / that of full",
    ]
    return [heading, *lines] if lines else []


def quick_idea_rows(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A heading, and the difference from the recipe without clipping for each idea, by network."""
    lines: list[list[str]] = []
    for idea, pairs in _pairs(rows, "quick-ideas"):
        texts = []
        for network in QUICK_NETWORKS:
            both = [pair for pair in pairs if pair[0]["network"] == network]
            if not both:
                texts.append("–")
                continue
            mean = 100 * fmean(row["accuracy"] for row, _ in both)
            than = 100 * fmean(other["accuracy"] for _, other in both)
            texts.append(f"{mean:.2f} %" if idea == BASE else f"{mean - than:+.2f}")
        times = fmean(row["seconds"] / other["seconds"] for row, other in pairs)
        name, seeds = "nothing" if idea == BASE else idea, {row["seed"] for row, _ in pairs}
        lines.append([name, str(len(seeds)), *texts, f"{times:.2f}"])
    heading = ["changed", "seeds", *QUICK_NETWORKS, "time / that of the first"]
    return [heading, *lines] if lines else []


def length_rows(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A heading, and for each network test accuracies by recipe and length, means over seeds.

    The last lines are means over networks, and how many fewer errors they make than by the
    earlier form, with an interval. Trainings that diverged are left out.
    """
    runs = [row for row in rows if row["part"] == "lengths" and row["accuracy"]]
    earlier = {one["name"]: one["test_accuracies"] for one in _earlier()}
    lengths = [name for name in LENGTH_NAMES if any(row["recipe"] == name for row in runs)]
    columns: list[dict[str, list[float]]] = [{}, *({} for _ in lengths)]  # by network
    for network, of_front in THREE_NETWORKS.items():
        for kind, name in (("DCT", of_front), ("pointwise", f"{EQUAL_COST_TWIN}-{of_front}")):
            columns[0][f"{kind}, {network}"] = earlier[name]
    for row in runs:
        column = columns[1 + lengths.index(row["recipe"])]
        column.setdefault(row["network"], []).append(row["test_accuracy"])
    lines = [[key, *(_mean_of(column.get(key, [])) for column in columns)] for key in columns[0]]
    whole = all(column.keys() == columns[0].keys() for column in columns)
    if runs and whole:
        means = [fmean(map(fmean, column.values())) for column in columns]
        lines.append(["**mean**", *(f"**{100 * mean:.2f} %**" for mean in means)])
        lines.append(["fewer errors (95 % interval)", "–", *_fewer_errors(columns)])
    heading = ["network", "earlier form, 20 epochs", *(f"today's, {name}" for name in lengths)]
    return [heading, *lines] if runs else []


def _fewer_errors(columns: Sequence[dict[str, list[float]]]) -> Iterator[str]:
    """How many fewer errors networks make in each further column than in the first one."""
    noise = estimate_noise([one for column in columns for one in column.values()], TEST_IMAGES)

    def row(tests: list[float]) -> dict[str, Any]:
        return {"test_accuracies": tests, "test_accuracy": fmean(tests)}

    for column in columns[1:]:
        pairs = [(row(column[key]), row(before)) for key, before in columns[0].items()]
        of = mean_difference(pairs, noise, 1)
        fewer, low, high = (100 * of[name] for name in ("fewer_errors", "low", "high"))
        yield f"{fewer:.1f} % ({low:.1f} to {high:.1f})"


def _mean_of(accuracies: Sequence[float]) -> str:
    if not accuracies:
        return "–"
    return f"{100 * fmean(accuracies):.2f} % ({format_number(len(accuracies), 'seed')})"


def _earlier() -> list[dict[str, Any]]:
    """Networks of the earlier search as they were trained then."""
    networks: list[dict[str, Any]] = json.loads(FRONT.with_name(SUMMARY).read_text())["networks"]
    return networks


def _pairs(
    rows: Iterable[dict[str, Any]], part: str
) -> Iterator[tuple[str, list[tuple[dict[str, Any], dict[str, Any]]]]]:
    """Each idea of a part with its rows and those of the recipe itself, of two pairs or more.

    Trainings that diverged are left out.
    """
    ideas = [row for row in rows if row["part"] == part and row["accuracy"]]
    base = {(row["network"], row["seed"]): row for row in ideas if row["recipe"] == BASE}
    for idea in dict.fromkeys(row["recipe"] for row in ideas):
        pairs = [
            (row, base[row["network"], row["seed"]])
            for row in ideas
            if row["recipe"] == idea and (row["network"], row["seed"]) in base
        ]
        if len(pairs) > 1:
            yield idea, pairs


def rate_rows(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A heading, and validation accuracies by learning rate: of short runs and whole trainings."""
    runs = [row for row in rows if row["part"] == "rates"]
    lines = []
    for network, grid in recorded_grids().items():
        by_rate = {
            f"{rate:g}": [
                row["accuracy"]
                for row in runs
                if (row["network"], row["recipe"]) == (network, f"{rate:g}")
            ]
            for rate in RATES
        }
        seeds = max(map(len, by_rate.values()))
        if seeds:
            short = [
                "diverged" if 0.0 in each else f"{100 * fmean(each):.1f} %" if each else "–"
                for each in by_rate.values()
            ]
            lines.append([network, f"short runs, {format_number(seeds, 'seed')}", *short])
            whole = [f"{100 * grid[rate]:.1f} %" if rate in grid else "–" for rate in by_rate]
            lines.append([network, "whole trainings, 1 seed", *whole])
    heading = ["network", "validation accuracy at rate", *(f"{rate:g}" for rate in RATES)]
    return [heading, *lines] if lines else []
