"""Tables of whole searches: time, stopping, short schedules, overhead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.docs_tables.markdown import BENCHMARKS, interval, read, spread, table
from benchmarks.end_to_end import NAMES as BASELINE_NAMES
from benchmarks.recorded_coverage import coverage, own_noise, recorded_searches
from benchmarks.second_search import MARKS, summarise
from nas.stopping.rule import StoppingSettings

WHOLE_SEARCHES = {"digits": "end-to-end.json", "Fashion-MNIST": "end-to-end-fashion-mnist.json"}


def end_to_end() -> str:
    """Seconds until a baseline's final hypervolume is reached, by it and by this search."""
    return _end_to_end("digits")


def end_to_end_fashion_mnist() -> str:
    """The same on Fashion-MNIST."""
    return _end_to_end("Fashion-MNIST")


def _end_to_end(dataset: str) -> str:
    rows = read(BENCHMARKS / WHOLE_SEARCHES[dataset])["summary"]
    lines = []
    for version, name in BASELINE_NAMES.items():
        for row in rows:
            ours = row[f"ours_reached_{name}"]
            lines.append([
                version, str(row["seed"]), f"{row[f'{name}_volume']:.3f}",
                f"{row[f'{name}_reached']:.0f}", "never" if ours is None else f"{ours:.0f}",
                "–" if ours is None else f"{row[f'{name}_ratio']:.1f}",
            ])  # fmt: skip
        middle = median(row[f"{name}_ratio"] for row in rows)
        lines.append([version, "**median**", "", "", "", f"**{middle:.1f}**"])
    return table(
        ["baseline", "seed", "its final hypervolume", "reached by it, s", "by this search, s",
         "ratio"],
        lines,
    )  # fmt: skip


def early_stopping() -> str:
    """What stopping keeps and saves in whole searches: medians (least to most)."""
    lines = []
    for dataset, name in WHOLE_SEARCHES.items():
        file = read(BENCHMARKS / name)
        kept, trained = ([row[key] for row in file["summary"]] for key in ("kept", "trained"))
        budget = str(file["setting"]["budget"])
        lines.append([dataset, budget, spread(kept, 3), spread(trained, 2)])
    return table(
        ["of the same search without stopping", "trials", "hypervolume", "training seconds"], lines
    )


def second_search() -> str:
    """What a cold start takes for as much as a search with a source: medians (least to most)."""
    file = read(BENCHMARKS / "second-search.json")
    lines = []
    for line in file["summary"]:
        searches = [summarise([row])[0] for row in file["rows"] if row["kind"] == line["kind"]]
        cells = []
        for index, mark in enumerate(line["marks"]):
            each = [one["marks"][index] for one in searches]
            cells += [_multiple(mark, each, unit) for unit in ("trials", "seconds")]
        reached = [one["trials"] for one in searches if one["trials"] is not None]
        cells.append(f"{len(reached)} of {len(searches)}")
        lines.append([line["kind"], *cells])
    heading = []
    for mark in MARKS:
        heading += [f"after {mark * file['setting']['budget']:.0f}: trials", "training s"]
    return table(["second search", *heading, "reached"], lines)


def _multiple(middle: Mapping[str, Any], each: Sequence[Mapping[str, Any]], unit: str) -> str:
    """A median and a range, where the end of the cold start is beyond what it reached."""
    found = [math.inf if one[unit] is None else one[unit] for one in each]
    numbers = (math.inf if middle[unit] is None else middle[unit], min(found), max(found))
    one, low, high = (f"{n:.1f}" if math.isfinite(n) else "never" for n in numbers)
    return f"{one} ({low} to {high})"


def stopping() -> str:
    """Replays of a published table of learning curves, at the confidence of a search."""
    rows = read(BENCHMARKS / "stopping.json")["rows"]
    strength = StoppingSettings.confidence
    chosen = [row for row in rows if (row["rule"], row["strength"]) == ("front", strength)]
    if not chosen:
        raise ValueError(f"stopping.json: no rows at confidence {strength}; measure it first")
    return table(
        ["trials at a time", "hypervolume kept [quartiles]", "epochs spent",
         "successive halving at equal epochs", "non-dominated sorting at equal epochs",
         "all judged after one epoch, at equal epochs"],
        (
            [str(row["in_flight"]),
             f"{row['hypervolume']:.3f} [{row['q25']:.3f}, {row['q75']:.3f}]",
             f"{row['epochs']:.2f}",
             *(f"{row[name]:.3f}" for name in ("halving", "sorting", "one_epoch"))]
            for row in chosen
        ),
    )  # fmt: skip


def stopping_coverage() -> str:
    """How often final accuracies of recorded searches lie above the bound of the rule."""
    lines = []
    for search in recorded_searches():
        curves = [trial.curve for trial in search.trials]
        found = coverage(curves, search.epochs, search.images)
        noise = own_noise(search)[search.epochs][0] if search.trials[0].right else None
        lines.append([
            f"{search.name}, {search.images:,} images", str(len(curves)),
            *(f"{100 * each.share:.1f} %" for each in found),
            "–" if noise is None else f"{noise:.2f}",
        ])  # fmt: skip
    return table(
        ["finished trials of", "trials", "above the bound of epoch 1", "epoch 2", "epoch 4, of 8",
         "noise not common to all, share of the binomial"],
        lines,
    )  # fmt: skip


def stopping_recorded() -> str:
    """Replays of the rule on recorded searches, with training losses and without."""
    rows = [
        row for row in read(BENCHMARKS / "stopping-recorded.json")["rows"]
        if row["confidence"] == StoppingSettings.confidence
    ]  # fmt: skip
    return table(
        ["trials of", "forecast from", "hypervolume kept ± standard error", "epochs spent"],
        (
            [row["search"], "accuracy and loss" if row["losses"] else "accuracy",
             f"{row['hypervolume']:.3f} ± {row['error']:.3f}", f"{row['epochs']:.2f}"]
            for row in rows
        ),
    )  # fmt: skip


def training_loss() -> str:
    """How well early accuracies and early losses rank the final accuracies at equal cost."""
    found = read(BENCHMARKS / "stopping-recorded.json")["correlations"]
    return table(
        ["partial rank correlation with the final accuracy", "epoch 1", "epoch 2", "epoch 4, of 8"],
        (
            [f"{name}: {what}", *(f"{value:.2f}" for value in values)]
            for name, by_what in found.items()
            for what, values in by_what.items()
        ),
    )


def schedule() -> str:
    """How well short schedules rank architectures as a long one does."""
    return table(
        ["data", "short schedule", "architectures", "partial rank correlation",
         "two seeds of the long one", "times cheaper"],
        (
            [row["dataset"], row["schedule"], str(row["architectures"]),
             interval(row, "partial"), interval(row, "seeds_partial"),
             f"{row['cost_ratio']:.1f}"]
            for row in read(BENCHMARKS / "schedule.json")["summary"]
        ),
    )  # fmt: skip


def overhead() -> str:
    """What a search adds to each trial, and how many of many slots are busy."""
    file = read(BENCHMARKS / "overhead.json")
    lines = []
    for name, seconds in file["seconds_per_trial"].items():
        busy = file["busy_share"].get(name)
        lines.append([
            name, f"{median(seconds):.2f}",
            f"{file['seconds_over_the_floor'].get(name, 0):.2f}",
            "–" if busy is None else f"{busy:.2f}",
        ])  # fmt: skip
    sizes = file["sizes"]
    busy = f"busy share of {sizes['slots']} slots, trials of {sizes['sleep']:g} s"
    around = table(["", "s per trial", "beyond the bare Tuner, s", busy], lines)
    short = file.get("short_trials")
    if short is None:
        return around
    case = f"{sizes['slots']} slots, trials of {sizes['short_sleep']:g} s"
    return f"{around}\n" + table(
        [case, "busy share, bare Tuner", "busy share, known-cost", "median wait for a trial, s"],
        [[
            f"repetition {number}", *(f"{row[key]:.2f}" for key in
                                      ("bare_busy_share", "busy_share", "median_wait")),
        ] for number, row in enumerate(
            (dict(zip(short, values, strict=True)) for values in zip(*short.values(), strict=True)),
            1,
        )],
    )  # fmt: skip


def large_study() -> str:
    """Operations on a study of thousands of trials."""
    file = read(BENCHMARKS / "overhead.json")
    return table(
        [f"operation, {file['sizes']['stored']:,} trials in SQLite", "seconds"],
        ([timing["operation"], f"{timing['seconds']:.2f}"] for timing in file["study"]),
    )
