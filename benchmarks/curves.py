"""Tables of learning curves: networks of known cost, with their accuracy after each epoch.

The format is one CSV row for each network: `macs`, and `epoch_1`, `epoch_2`, ... in per
cent. A network's final accuracy is that of the last epoch. Other columns are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.pareto import hypervolume

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CurveTable:
    """Networks with their costs and learning curves."""

    name: str
    macs: Array  # [N], multiply-adds
    accuracy: Array  # [N, epochs], fractions in [0, 1]
    images: int | None = None  # of the validation split, where known
    losses: Array | None = None  # [N, epochs], mean training loss, where known

    @property
    def epochs(self) -> int:
        """Length of the schedule."""
        return int(self.accuracy.shape[1])

    @cached_property
    def points(self) -> Array:
        """[N, 2], (log10 macs, final error)."""
        return np.column_stack([np.log10(self.macs), 1 - self.accuracy[:, -1]])

    @cached_property
    def reference(self) -> tuple[float, float]:
        """The largest log10 macs and the 90th percentile of the final error."""
        return float(self.points[:, 0].max()), float(np.percentile(self.points[:, 1], 90))

    @cached_property
    def best(self) -> float:
        """Hypervolume when every network is trained to the end."""
        return hypervolume(self.points, self.reference)


def read_curves(path: Path) -> CurveTable:
    """Read a table of the format above.

    Raises:
        ValueError: one line that says what is wrong with the file and what is accepted.
    """
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a CSV table"
        raise ValueError(f"--curves {path}: cannot be read ({reason})") from None
    epochs = [f"epoch_{epoch}" for epoch in range(1, 1 + len(frame.columns))]
    epochs = epochs[: next(i for i, name in enumerate([*epochs, ""]) if name not in frame)]
    if "macs" not in frame or len(epochs) < 2 or frame.empty:
        raise ValueError(f"--curves {path}: accepted: columns macs and epoch_1, epoch_2, ...")
    for column in ["macs", *epochs]:
        numeric = pd.api.types.is_numeric_dtype(frame[column])
        if not numeric or not np.isfinite(frame[column]).all():
            raise ValueError(f"--curves {path}: column {column} is not numeric in every row")
    if not (frame["macs"] > 0).all():
        raise ValueError(f"--curves {path}: column macs; accepted: positive numbers")
    accuracy = frame[epochs].to_numpy(dtype=np.float64) / 100
    if accuracy.min() < 0 or accuracy.max() > 1:
        raise ValueError(f"--curves {path}: an accuracy is outside of 0 to 100 per cent")
    return CurveTable(Path(path).stem, frame["macs"].to_numpy(dtype=np.float64), accuracy)


TASKS = (  # smallest and largest final error, validation images, error of guessing
    ("digits-like", 0.008, 0.25, 360, 0.90),
    ("fashion-like", 0.07, 0.30, 6000, 0.90),
    ("cifar100-like", 0.25, 0.80, 5000, 0.99),
)


def generate_curves(seed: int, networks: int = 150, epochs: int | None = None) -> CurveTable:
    """A synthetic table: short schedules, crossing curves, noise, networks that do not learn.

    The final error falls with cost by a power law times a factor of each network. The speed of
    convergence varies between networks and with cost, and a part of the gain comes only as the
    learning rate falls. Every epoch has training noise and the binomial noise of a finite
    validation split. 3 % of the networks stay at the error of guessing.

    Args:
        seed: selects the task, the schedule and everything else.
        networks: rows.
        epochs: of the schedule; None: 6, 8, 10, 12 or 30, depending on the seed.
    """
    rng = np.random.default_rng([77, seed])
    epochs = epochs or int(rng.choice([6, 8, 10, 12, 30]))
    task, smallest, largest, images, guessing = TASKS[int(rng.integers(len(TASKS)))]
    size = rng.uniform(0, 1, networks)
    quality = rng.standard_normal(networks)
    share = np.clip(rng.uniform(0.5, 1.0) * size + 0.12 * quality + 0.1, 0, 1.05)
    final = np.log(largest) + (np.log(smallest) - np.log(largest)) * share  # [N]
    slower = rng.normal(0, 0.5) * (size - 0.5)
    own = rng.uniform(0.1, 0.5) * rng.standard_normal(networks)
    half_life = 0.18 * np.exp(slower + own)[:, None]  # [N, 1], share of the schedule
    time = np.arange(1, epochs + 1) / epochs
    decay = (np.exp(-time / half_life) - np.exp(-1 / half_life)) / (1 - np.exp(-1 / half_life))
    annealed = rng.uniform(0.1, 0.5)
    left = (1 - annealed) * decay + 0.3 * annealed * (1 + np.cos(np.pi * time))
    error = np.exp(final[:, None] + (np.log(0.9 * guessing) - final[:, None]) * left)
    error *= np.exp(0.04 * rng.standard_normal(error.shape) * (4 - 3 * time))
    error[rng.random(networks) < 0.03] = guessing
    error = np.clip(error, 1e-4, guessing)
    accuracy = rng.binomial(images, 1 - error) / images
    return CurveTable(f"{task}-{epochs}-{seed}", 10 ** (6 + 1.7 * size), accuracy, images)
