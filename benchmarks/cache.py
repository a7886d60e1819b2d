"""Replays cached on disk, so that a rerun makes only what changed.

One JSON file for each (problem, sampler, version, seed, length, noise), written as soon
as the replay ends: an interrupted benchmark loses at most the replays that were running.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from functools import cache
from pathlib import Path

import nas.samplers
from benchmarks.baselines import OURS, baseline_version
from benchmarks.problems import Problem
from benchmarks.replay import Replay


class ReplayCache:
    """A folder of replays; files of other versions are ignored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(
        self, problem: Problem, sampler: str, seed: int, evaluations: int, noise: bool
    ) -> Replay | None:
        """The cached replay of the present versions; None where there is none."""
        path = self._path(problem, sampler, seed, evaluations, noise)
        try:
            return Replay(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None  # absent, or truncated by a crash of the machine: it is made again

    def put(
        self, problem: Problem, sampler: str, seed: int, evaluations: int, noise: bool, done: Replay
    ) -> None:
        """Write a replay, atomically."""
        path = self._path(problem, sampler, seed, evaluations, noise)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(done.to_dict(), file)
        os.replace(file.name, path)  # noqa: PTH105 - the same folder

    def _path(
        self, problem: Problem, sampler: str, seed: int, evaluations: int, noise: bool
    ) -> Path:
        made_by = sources_version() if sampler == OURS else baseline_version(sampler)
        name = f"{seed}-{evaluations}{'-noise' if noise else ''}.json"
        table = f"{problem.name}-{problem.fingerprint}"
        return self.folder / f"{sampler}-{made_by}" / table / name


@cache
def sources_version() -> str:
    """Hash of the sources of the known-cost sampler: any change invalidates its replays."""
    digest = hashlib.sha256()
    root = Path(nas.samplers.__path__[0]).parent
    imported = [root / "stopping" / f"{name}.py" for name in ("forecast", "neg_log_error")]
    for path in sorted([*root.glob("samplers/*.py"), *imported, root / "pareto.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
