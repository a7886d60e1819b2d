"""How long a search takes: by the number, length and cost of its trials; unknown elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from nas.study.plan import Plan, make_plan
from nas.study.request import Request
from nas.study.resources import ClusterResources, Node
from nas.study.search_time import can_estimate, estimate_seconds
from nas.training import speed

ROOT = Path(__file__).parents[2]


def planned(tmp_path: Path, **asked: Any) -> Plan:
    asked = {"budget": 20, "space": ROOT / "search_spaces/tiny.yaml", "concurrency": 1} | asked
    request = Request(dataset="digits", results=tmp_path, **asked)
    return make_plan(request, ClusterResources((Node(4),), 4))


def test_more_trials_longer_ones_and_fewer_at_a_time_take_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "seconds_per_image", lambda *_: 1e-3)
    plan = planned(tmp_path)
    seconds = estimate_seconds(plan)
    images = plan.config.recipe.epochs * len(plan.data.train)
    assert 1 < seconds / (20 * 1e-3 * images) < 1.5  # and the evaluations, and the margin
    assert estimate_seconds(planned(tmp_path, budget=40)) == pytest.approx(2 * seconds)
    assert estimate_seconds(replace(plan, counted=15)) == pytest.approx(seconds / 4)
    assert estimate_seconds(planned(tmp_path, concurrency=4)) == pytest.approx(seconds / 4)
    subset = {"epochs": 4, "train_images": 200}
    assert estimate_seconds(planned(tmp_path, overrides=subset)) < seconds / 5


def test_limits_make_it_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds_per_image(network: nn.Module, *_: Any) -> float:
        return 1e-8 * sum(parameter.numel() for parameter in network.parameters())

    monkeypatch.setattr(speed, "seconds_per_image", seconds_per_image)
    free = planned(tmp_path)
    seconds = estimate_seconds(free)
    assert seconds > 1.5 * estimate_seconds(planned(tmp_path, max_macs=2 * free.smallest.macs))
    tight = estimate_seconds(planned(tmp_path, max_macs=free.smallest.macs))
    assert 0 < tight < seconds / 2


def test_what_other_machines_take_is_not_known(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert can_estimate(plan)
    cluster = replace(plan, request=replace(plan.request, ray_address="auto"))
    missing = replace(plan.data, notes=replace(plan.data.notes, download="20 MB"))
    for other in (
        cluster,
        replace(plan, gpus_per_trial=0.5),
        replace(plan, data=missing),
        replace(plan, counted=20),  # nothing is left
    ):
        assert not can_estimate(other)
