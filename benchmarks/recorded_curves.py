"""Learning curves of the finished trials of real searches, with losses and right images.

`python -m benchmarks.recorded_curves STUDY_FOLDER FILE` writes them as one small JSON file; the
files are in results/benchmarks/curves/. The searches ran without early stopping
(`benchmarks.no_stopping`), so that every trial has a final accuracy.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from benchmarks.curves import CurveTable
from nas.stopping.right_images import Bits, decode
from nas.stopping.rule import TrialCurve
from nas.study.front import finished_trials
from nas.study.storage.engine import open_storage, sqlite_url

FOLDER = Path(__file__).parents[1] / "results" / "benchmarks" / "curves"
KEPT = ("arch_id", "macs", "curve", "losses", "right")


@dataclass(frozen=True)
class RecordedTrial:
    """A finished trial: its curve, and what was kept beside it."""

    curve: TrialCurve  # its losses are empty where they were not kept
    right: dict[int, Bits]  # rung -> which validation images were right; empty: not kept


@dataclass(frozen=True)
class RecordedSearch:
    """The finished trials of a search, in order of their numbers."""

    name: str
    images: int  # of the validation split
    trials: tuple[RecordedTrial, ...]

    @property
    def epochs(self) -> int:
        """Length of the schedule."""
        return max(self.trials[0].curve.curve)

    def table(self) -> CurveTable:
        """The curves, for a replay; NaN between the rungs."""
        accuracy = np.full((len(self.trials), self.epochs), np.nan)
        for row, trial in enumerate(self.trials):
            for epoch, value in trial.curve.curve.items():
                accuracy[row, epoch - 1] = value
        macs: NDArray[np.float64] = np.array([trial.curve.costs[0] for trial in self.trials])
        losses = [trial.curve.losses for trial in self.trials]
        known = np.array(losses) if all(losses) else None
        return CurveTable(self.name, macs, accuracy, self.images, known)


def read_recorded(path: Path) -> RecordedSearch:
    """Read a file that `write_recorded` made."""
    data = json.loads(path.read_text())
    trials = tuple(
        RecordedTrial(
            TrialCurve(
                (float(row["macs"]),),
                {int(e): float(a) for e, a in row["curve"]},
                tuple(row["losses"]),
            ),
            {int(epoch): decode(text) for epoch, text in row["right"]},
        )
        for row in data["trials"]
    )
    return RecordedSearch(path.stem, data["images"], trials)


def read_trials_csv(path: Path, images: int) -> RecordedSearch:
    """Read the finished trials of a study's `trials.csv`, which has curves alone."""
    table = pd.read_csv(path)
    table = table[(table["state"] == "complete") & table["duplicate_of"].isna()]
    trials = tuple(
        RecordedTrial(
            TrialCurve((float(macs),), {int(e): float(a) for e, a in json.loads(curve)}), {}
        )
        for macs, curve in zip(table["macs"], table["curve"], strict=True)
    )
    return RecordedSearch(path.parent.name, images, trials)


def write_recorded(study: optuna.Study, path: Path) -> None:
    """Write the finished trials of a study, one a line."""
    rows = [
        json.dumps({name: trial.user_attrs[name] for name in KEPT})
        for trial in finished_trials(study)
    ]
    head: dict[str, Any] = {
        "dataset": study.user_attrs["dataset"]["name"],
        "images": study.user_attrs["val_images"],
        "seed": study.user_attrs["seed"],
    }
    lines = json.dumps(head)[:-1] + ', "trials": [\n' + ",\n".join(rows) + "\n]}\n"
    path.write_text(lines)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    storage = open_storage(sqlite_url(folder / "study.db"))
    write_recorded(optuna.load_study(study_name=folder.name, storage=storage), Path(sys.argv[2]))
