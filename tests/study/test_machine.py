"""A study that measures latency belongs to one machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from nas.study import plan as module
from nas.study.config import StudyConfig, stored_config
from nas.study.plan import Request, make_plan
from nas.study.resources import ClusterResources, Node
from nas.study.storage.engine import open_storage

ROOT = Path(__file__).parents[2]
HERE = ClusterResources((Node(2),), 1)


@pytest.fixture
def request_for_latency(tmp_path: Path) -> Request:
    return Request(
        budget=3, space=ROOT / "search_spaces/tiny.yaml", dataset="digits", study="timed",
        results=tmp_path, objectives="accuracy,macs,latency",
    )  # fmt: skip


def begin(request: Request) -> StudyConfig:
    plan = make_plan(request, HERE)
    plan.folder.mkdir()
    study = optuna.create_study(
        storage=open_storage(plan.storage, create=True), study_name="timed",
        directions=plan.config.objectives.directions,
    )  # fmt: skip
    for key, value in plan.config.to_attributes().items():
        study.set_user_attr(key, value)
    recorded = stored_config(study)
    assert recorded is not None
    assert recorded.to_attributes() == plan.config.to_attributes()
    return plan.config


def test_another_machine_is_refused_in_one_line(
    request_for_latency: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begin(request_for_latency)
    assert make_plan(request_for_latency, HERE).config.to_attributes() == config.to_attributes()
    with pytest.raises(ValueError, match=r"machine: .* 1 threads.* stored, .* 2 threads.* asked"):
        make_plan(replace(request_for_latency, cpus_per_trial=2), HERE)
    monkeypatch.setattr(module, "machine_identity", lambda *of: "another processor")
    with pytest.raises(ValueError, match=r"machine: .* stored, .*another processor") as caught:
        make_plan(request_for_latency, HERE)
    assert "\n" not in str(caught.value)


def test_a_study_without_latency_moves_freely(
    request_for_latency: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(request_for_latency, objectives="accuracy,macs")
    config = begin(request)
    assert config.machine is None
    monkeypatch.setattr(module, "machine_identity", lambda *of: "another processor")
    assert make_plan(request, HERE).config.to_attributes() == config.to_attributes()
