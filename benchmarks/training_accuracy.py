"""Accuracies of the trainer and of the baseline training, trained until both have learned.

Speed is measured apart (`benchmarks.training`), in trainings that are too short for this. Both
train the same architecture from the same weights on the same images of Fashion-MNIST, at the size
and with the schedule of a search on a CPU. Run as
`python runners/benchmark.py training --accuracy --json FILE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks import baseline_training
from benchmarks.baseline_training import CPU
from benchmarks.rows import RowFile
from benchmarks.training import ARCHITECTURES, shrink
from nas.data import SearchData, load_search_data
from nas.progress import Progress, shown, silent
from nas.threads import cpu_threads
from nas.training import Recipe, Trainer, build, get_recipe

KEY = ("arch", "seed")
TRAINED = ("mixed", "Table 2")  # of `ARCHITECTURES`
LEARNED = 0.8  # accuracy that the baseline must reach on average


def measure(
    data: SearchData,
    recipe: Recipe,
    file: RowFile,
    repetitions: int,
    architectures: Sequence[str] = TRAINED,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Train both versions of every network, with as many seeds; one row for each pair.

    Args:
        data: trained on as it is.
        recipe: its subset and image size are ignored.
        file: with key `KEY`; its rows are not repeated, and each new one is added.
        repetitions: number of seeds.
        architectures: names in `ARCHITECTURES`.
        progress: given one step for each pair, their number, and how many exist already.
    """
    work = [(arch, seed) for seed in range(repetitions) for arch in architectures]
    left = [key for key in work if key not in file]
    whole = recipe.model_copy(update={"train_images": None, "val_images": None, "shrink": 1})

    def steps() -> Iterator[None]:
        for arch, seed in left:
            with cpu_threads(1):
                accuracy = _train_both(arch, seed, data, whole)
            file.add({"arch": arch, "seed": seed, "accuracy": accuracy})
            yield

    for _ in progress(steps(), len(work), len(work) - len(left)):
        pass
    return [row for row in file if (row["arch"], row["seed"]) in work]


def _train_both(name: str, seed: int, data: SearchData, recipe: Recipe) -> dict[str, float]:
    arch = ARCHITECTURES[name]
    trainer = Trainer(build(arch, data.info, seed), data, recipe, seed=seed, device=CPU)
    for _ in range(recipe.epochs):
        trainer.train_epoch()
    network = baseline_training.plain_network(arch, data.info, seed)
    *_, baseline = baseline_training.train(network, data, recipe, seed=seed, workers=0)
    return {"ours": trainer.evaluate(), "baseline": baseline}


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean accuracies, and the difference with its 95 % interval over all pairs.

    Raises:
        ValueError: the baseline has not learned, so that equal accuracies would say nothing.
    """
    ours, baseline = ([row["accuracy"][name] for row in rows] for name in ("ours", "baseline"))
    if fmean(baseline) < LEARNED:
        raise ValueError(
            f"the baseline reaches {fmean(baseline):.3f} on average; accepted: {LEARNED} or more"
        )
    pairs = [a - b for a, b in zip(ours, baseline, strict=True)]
    error = stdev(pairs) / len(pairs) ** 0.5
    half = float(stats.t.ppf(0.975, len(pairs) - 1)) * error
    mean = fmean(pairs)
    return {
        "pairs": len(pairs),
        "ours": fmean(ours),
        "baseline": fmean(baseline),
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
    }


def run_and_report(repetitions: int, data_dir: Path, json_path: Path | None) -> None:
    """Train what is missing, print a table, write the figures; an unfinished file is continued.

    Raises:
        DatasetError: Fashion-MNIST is not found.
        ValueError: the baseline has not learned, or there are not two pairs.
    """
    if repetitions < 2:
        raise ValueError(f"--repetitions: {repetitions}; accepted: 2 or more with --accuracy")
    recipe = get_recipe("short-cpu-subset")
    fashion = load_search_data("fashion-mnist", data_dir, download=False)
    data = shrink(fashion, 6000, 2000, 14)
    setting = {"torch": torch.__version__, "recipe": recipe.model_dump(mode="json")}
    file = RowFile(json_path, setting, KEY)
    rows = measure(data, recipe, file, repetitions, progress=shown("pairs of trainings"))
    figures = summarise(rows)
    console = Console(width=None if Console().is_terminal else 100)
    console.print(table(rows))
    console.print(
        f"ours less the baseline's: {100 * figures['difference']:+.2f} points, 95 % interval "
        f"{100 * figures['low']:+.2f} to {100 * figures['high']:+.2f}, {len(rows)} pairs"
    )
    file.write({"summary": figures})
    if json_path is not None:
        console.print(f"written: {json_path}")


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """A row for each pair."""
    grid = Table(title="Validation accuracy on Fashion-MNIST, 8 epochs of 6,000 images at 14x14")
    for column in ("network", "seed", "ours", "baseline"):
        grid.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        accuracies = (f"{100 * row['accuracy'][name]:.2f} %" for name in ("ours", "baseline"))
        grid.add_row(row["arch"], str(row["seed"]), *accuracies)
    return grid
