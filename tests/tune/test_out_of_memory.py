"""An actor that ran out of memory is replaced, and the trial that was to follow is not lost."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
from optuna.trial import TrialState

from nas.study.plan import make_plan
from nas.study.request import Request
from nas.study.resources import ClusterResources, Node
from nas.study.study import Candidate, SearchStudy
from nas.tune import run as module
from nas.tune.run import StopConditions, run
from nas.tune.trainable import TrainingTrial

ROOT = Path(__file__).parents[2]
MARKER = "ran-out"


class ShortOfMemory(TrainingTrial):
    """The first trial finds no memory."""

    def _build(self) -> Any:
        marker = Path(self._data.info.name.removeprefix("folder:")) / MARKER
        if not marker.exists():
            marker.touch()
            raise MemoryError
        return super()._build()


class Quiet:
    """A view that shows nothing."""

    def started(self, candidate: Candidate) -> None: ...

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None: ...

    def ended(self, candidate: Candidate, state: str, detail: str) -> None: ...


def test_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests/
    monkeypatch.setattr(module, "TrainingTrial", ShortOfMemory)
    caplog.set_level(logging.CRITICAL, "nas")
    request = Request(
        budget=4, space=ROOT / "search_spaces/tiny.yaml", dataset="digits", results=tmp_path,
        concurrency=1, overrides={"epochs": 1, "train_images": 100},
    )  # fmt: skip
    plan = make_plan(request, ClusterResources((Node(1),), 1))
    object.__setattr__(plan.data.info, "name", f"folder:{tmp_path}")
    study = optuna.create_study(
        directions=plan.config.objectives.directions, sampler=optuna.samplers.RandomSampler(0)
    )
    searched = SearchStudy(study, plan.config, budget=4)
    ended = run(searched, plan, StopConditions(None, 10, None), [], Quiet())
    assert ended is None
    trials = study.get_trials()
    reasons = [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]
    assert reasons.count("out_of_memory") == 1
    assert reasons.count("interrupted") == 1  # the one that was to follow
    assert searched.counted == 4
    assert not [t for t in trials if t.state == TrialState.RUNNING]
    assert searched.failures.total() == 1
