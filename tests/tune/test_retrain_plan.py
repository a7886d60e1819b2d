"""A plan fits its hours, grows with them, and is kept for the same request."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from digits_front import NOWHERE, write_digits_front

from nas.cli.retrain_view import show_plan
from nas.space.arch import Arch, StageArch
from nas.study.front_file import load_front
from nas.study.resources import ClusterResources, Node
from nas.training import get_recipe, speed
from nas.training.small_data import ADAPTED
from nas.tune import retrain_plan as module
from nas.tune import training_pool
from nas.tune.resources import this_machine
from nas.tune.retrain_plan import PLAN, Plan, plan_retraining, with_plan
from nas.tune.retrain_request import RetrainRequest

RECIPE = get_recipe("full", batch_size=50)


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RetrainRequest:
    monkeypatch.setattr(module, "MEASURED_SECONDS", 0.2)
    archs = [Arch(8, (StageArch(16, 1 + more, 2, "dct", 2, 4),)) for more in range(6)]
    front = write_digits_front(tmp_path, archs, [0.5] * 6, RECIPE, knee=2)
    return RetrainRequest(
        front=front, select="all", recipe=RECIPE, learning_rates=(), seeds=1,
        references=(), export=(), concurrency=1, threads=1, data_dir=NOWHERE,
    )  # fmt: skip


def planned(request: RetrainRequest, hours: float | None, **rest: Any) -> Plan:
    asked: dict[str, Any] = {"epochs": None, "seeds": None, "keep": False} | rest
    return plan_retraining(request, hours, this_machine, **asked)


def test_more_hours_train_more(request_: RetrainRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "seconds_per_image", lambda *_: 1e-3)
    plans = []
    for hours in (0.002, 0.01, 0.05, 0.1, 0.3, 0.5, 1, 2, 10):
        plan = planned(request_, hours)
        assert plan.seconds <= 3600 * hours
        plans.append((len(plan.networks), plan.seeds, plan.epochs, plan.seconds))
    assert plans == sorted(plans, key=lambda plan: plan[3])
    assert plans[0][:2] == (1, 1)
    assert plans[0][2] < 20
    assert (4, 1, 20) in [plan[:3] for plan in plans]
    assert plans[-1][:3] == (6, 2, 60)
    knee = planned(request_, 0.01).networks
    assert knee == planned(replace(request_, select="knee"), None).networks


def test_what_the_user_gave_is_kept(
    request_: RetrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "seconds_per_image", lambda *_: 1e-3)
    plan = planned(request_, 10, epochs=7, seeds=3)
    assert (plan.epochs, plan.seeds, len(plan.networks), plan.trainings) == (7, 3, 6, 18)
    assert planned(replace(request_, learning_rates=(0.1, 0.2)), 10, seeds=1).trainings == 7
    three = planned(replace(request_, learning_rates=(0.1, 0.2, 0.4)), 10, seeds=1)
    assert three.trainings == 8
    assert three.further_seconds == pytest.approx(2 * three.seconds / 8)
    two_places = replace(request_, learning_rates=(0.1, 0.2, 0.4), concurrency=2)
    assert planned(two_places, None).further_seconds == three.further_seconds * 60 / three.epochs
    everything = planned(request_, None)
    assert everything.further_seconds == 0
    assert (everything.epochs, everything.seeds, len(everything.networks)) == (60, 1, 6)
    with_twins = planned(replace(request_, references=("twin",)), None)
    assert with_twins.trainings == 12
    assert with_twins.seconds > everything.seconds


def test_a_teacher_and_short_runs_take_their_time(
    request_: RetrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher goes before the others; a family's short runs take a fifth of a training."""
    monkeypatch.setattr(speed, "seconds_per_image", lambda *_: 1e-3)
    plain, auto, taught, two = (
        planned(replace(request_, **change), None)
        for change in ({}, {"auto_rate": True}, {"teacher": True}, {"concurrency": 2})
    )
    assert {plan.trainings for plan in (plain, auto, taught)} == {6}
    assert auto.seconds == pytest.approx(plain.seconds * (1 + 0.2 / 6))
    assert taught.seconds == pytest.approx(plain.seconds * (1 + 2 / 3 / (6 * 60)))
    both = planned(replace(request_, teacher=True, concurrency=2), None)
    assert both.seconds > two.seconds * 1.3  # one training, then five on two places


def test_a_plan_counts_the_images_that_are_trained_on_and_turns_on_a_gpu(
    request_: RetrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "seconds_per_image", lambda *_: 1e-3)
    whole = planned(request_, None)
    few = RECIPE.model_copy(update={"train_images": 100, "val_images": 30})
    part = planned(replace(request_, recipe=few), None)
    assert part.seconds == pytest.approx(whole.seconds * (100 + 10) / (1000 + 437 / 3), rel=0.01)

    def one_gpu() -> ClusterResources:
        return ClusterResources((Node(4, 1),), 4)

    shared = replace(request_, concurrency=2, gpus=0.5)
    asked: dict[str, Any] = {"epochs": None, "seeds": None, "keep": False}
    two_at_a_time = plan_retraining(shared, None, one_gpu, **asked)
    assert two_at_a_time.seconds == pytest.approx(whole.seconds, rel=0.2)  # not half of it
    monkeypatch.setattr(training_pool, "has_mps", lambda: True)
    under_mps = plan_retraining(shared, None, one_gpu, **asked)
    assert under_mps.seconds == pytest.approx(two_at_a_time.seconds / 1.5)


def test_the_time_of_second_trainings_is_said_where_there_may_be_some(
    request_: RetrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network below its short schedule trains again, by a recipe that the user left free."""
    monkeypatch.setattr(speed, "seconds_per_image", lambda *_: 1e-3)
    short, free = get_recipe("short-cpu"), replace(request_, adapted=ADAPTED)
    archs = [entry.build_arch() for entry in load_front(request_.front).architectures]
    write_digits_front(request_.front.parent, archs, [0.5] * 6, short, knee=2)
    plain, again = planned(replace(free, adapted=()), None), planned(free, None)
    longer = planned(replace(free, references=("twin",)), None, seeds=2)
    assert plain.again_seconds == 0
    assert again.again_seconds == pytest.approx(again.seconds)
    assert longer.again_seconds == pytest.approx(again.again_seconds)  # with one seed, no twins
    assert longer.seconds > again.seconds
    fewer = planned(replace(free, recipe=get_recipe("full", epochs=4), adapted=ADAPTED[1:]), None)
    assert fewer.again_seconds == 0  # shorter than the short schedule
    for plan, said in ((plain, False), (again, True)):
        file = io.StringIO()
        show_plan(plan, file)
        assert ("more where networks end below their short schedule" in file.getvalue()) == said
        assert file.getvalue().count("\n") == 1


def test_too_few_hours_are_one_line(request_: RetrainRequest) -> None:
    for hours, words in ((1e-7, "too short; accepted: at least"), (-1.0, "over 0")):
        with pytest.raises(ValueError, match=words) as caught:
            planned(request_, hours)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="--seeds 0: accepted"):
        planned(replace(request_, seeds=0), 1, seeds=0)
    with pytest.raises(ValueError, match="--ray-address"):
        planned(replace(request_, ray_address="auto"), 1)


def test_the_same_request_has_the_same_plan(
    request_: RetrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "seconds_per_image", lambda *_: 1e-3)
    path = request_.front.parent / "retrained" / PLAN
    planned(request_, 1)
    assert not path.exists()  # a dry run writes nothing
    first = planned(request_, 1, keep=True)
    stored = path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(speed, "seconds_per_image", lambda *_: 5e-3)  # a busy machine
        assert planned(request_, 1, keep=True) == first
        assert planned(replace(request_, select="top:6"), 1) != first
    assert path.read_text() == stored
    path.write_text("{")
    assert planned(request_, 1, keep=True).networks == first.networks
    request = with_plan(request_, first)
    assert request.select.split(",") == list(first.networks)
    assert (request.recipe.epochs, request.seeds) == (first.epochs, first.seeds)
