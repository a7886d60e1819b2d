"""Prints the training benchmark and writes its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.rows import RowFile
from benchmarks.training import KEY, THREADS, Row, load_images, measure, report
from nas.format import format_number
from nas.progress import shown


def run_and_report(
    repetitions: int, data_dir: Path, device: torch.device, json_path: Path | None
) -> None:
    """Measure what is missing, print a table, write the figures; an unfinished file is continued.

    Args:
        repetitions: of each version, each with another seed.
        data_dir: where data sets are kept.
        device: where to train.
        json_path: where to write the figures; None: nowhere.

    Raises:
        DatasetError: Fashion-MNIST is not found.
    """
    images = load_images(data_dir, device)
    recipes = {some.name: some.recipe.model_dump(mode="json") for some in images}
    setting = {"torch": torch.__version__, "recipes": recipes}
    if device.type == "cuda":
        setting["device"] = torch.cuda.get_device_name(device)
    file = RowFile(json_path, setting, KEY)
    rows = measure(
        images,
        file,
        threads=THREADS[device.type],
        device=device,
        repetitions=repetitions,
        progress=shown("trainings"),
    )
    figures = report(rows, device)
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(rows))
    for threads, speedup in figures["speedup"].items():
        with_threads = format_number(threads, "thread")
        console.print(f"{with_threads}: {speedup:.2f}x faster in the geometric mean")
    if json_path is not None:
        file.write(figures)
        console.print(f"written: {json_path}")


def table(rows: Sequence[Row]) -> Table:
    """Images per second of every version."""
    grid = Table(title="Training and evaluation, images/s, medians")
    versions = list(dict.fromkeys(name for row in rows for name in row.images_per_s))
    for column in ("images", "network", "threads", *versions, "ratio"):
        grid.add_column(column, justify="left" if column in ("images", "network") else "right")
    for row in rows:
        grid.add_row(
            row.images,
            row.arch,
            str(row.threads),
            *(f"{row.images_per_s[version]:.0f}" for version in versions),
            f"{row.speedup:.2f}x",
        )
    return grid
