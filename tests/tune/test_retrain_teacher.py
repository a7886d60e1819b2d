"""Retraining with a teacher: who teaches, in which order, after kills, and over several calls."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from digits_front import NOWHERE, write_digits_front

from nas.progress import training_bars
from nas.report.comparison_sentences import describe_retraining
from nas.retrain.learning_rate import FOLDER, SHORT_RUNS
from nas.retrain.next_steps import next_steps
from nas.space.arch import Arch, StageArch
from nas.training import Trainer, full, get_recipe
from nas.training.pretrained import read_description
from nas.training.teacher import LOGITS
from nas.tune.resources import this_machine
from nas.tune.retrain import Retrained, retrain_front
from nas.tune.retrain_request import RetrainRequest

RECIPE = get_recipe("full", epochs=2, batch_size=50, train_images=200, val_images=100)
ARCHS = [Arch(8, (StageArch(16, n, 2, "dct", 2, 4),)) for n in (1, 2, 3)]
ACCURACIES = (0.5, 0.7, 0.6)  # the second one is the most accurate
FIRST, BEST, LAST = (arch.arch_id for arch in ARCHS)
MEASURED = {"seconds": 0, "teacher_seconds": 0, "latency": 0}


class Killed(BaseException):
    """What a signal does to a training."""


@pytest.fixture
def request_(tmp_path: Path) -> RetrainRequest:
    return requested(tmp_path)


def requested(folder: Path) -> RetrainRequest:
    front = write_digits_front(folder, ARCHS, ACCURACIES, RECIPE)
    return RetrainRequest(
        front=front, select="all", recipe=RECIPE, learning_rates=(), seeds=2,
        references=("twin",), export=(), concurrency=1, threads=1, data_dir=NOWHERE, teacher=True,
    )  # fmt: skip


def retrained(request: RetrainRequest) -> Retrained:
    return retrain_front(request, this_machine, partial(training_bars, True))


def metrics(done: Retrained) -> list[dict[str, Any]]:
    return [one | MEASURED | {"folder": ""} for one in done.metrics]


def teacher_of(folder: Path) -> str | None:
    found: str | None = read_description(folder).recipe["teacher"]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RetrainRequest, Retrained]:
    request = requested(tmp_path_factory.mktemp("whole"))
    return request, retrained(request)


def test_the_most_accurate_network_teaches_all_others(
    whole: tuple[RetrainRequest, Retrained],
) -> None:
    request, done = whole
    assert not done.failures
    assert [(one["network"], one["seed"]) for one in done.metrics[:2]] == [(BEST, 0), (BEST, 1)]
    assert len(done.metrics) == 12
    for one in done.metrics:
        expected = None if one["network"] == BEST else BEST
        assert teacher_of(Path(one["folder"])) == expected
        assert ("teacher_seconds" in one) == (expected is not None)
    assert [path.parent.name for path in request.home.rglob(LOGITS)] == [BEST]
    assert done.summary is not None
    rows = {row["name"]: row for row in done.summary["networks"]}
    assert len(rows) == 6
    assert rows[BEST]["teacher"] is None
    spent = max(one["seconds"] for one in done.metrics if one["network"] == BEST)
    for name in rows.keys() - {BEST}:
        assert rows[name]["teacher"] == BEST
        assert rows[name]["teacher_hours"] * 3600 < spent + 60
        assert rows[name]["teacher_hours"] > 0
    (line,) = (line for line in describe_retraining(done.summary) if "logits of" in line)
    assert line.startswith(f"5 networks learned from the logits of {BEST} and the labels: ")
    assert "--teacher" in dict(next_steps(done.summary))["export"]


def test_again_nothing_is_trained(
    whole: tuple[RetrainRequest, Retrained], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_epoch(trainer: Trainer) -> float:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "train_epoch", train_epoch)
    assert retrained(whole[0]).summary == whole[1].summary


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Retrained:
    return retrained(alone(requested(tmp_path_factory.mktemp("three"))))


def alone(request: RetrainRequest) -> RetrainRequest:
    """The three networks of the front with one seed: six epochs."""
    return replace(request, references=(), seeds=1)


@pytest.mark.parametrize("survived", range(6))
def test_a_kill_at_any_epoch_leaves_no_trace(
    three: Retrained,
    request_: RetrainRequest,
    monkeypatch: pytest.MonkeyPatch,
    survived: int,
) -> None:
    """The first two epochs are the teacher's."""
    train, epochs = full._Run.train_epoch, 0

    def train_epoch(run: Any) -> tuple[float, float]:
        nonlocal epochs
        if epochs == survived:
            raise Killed
        epochs += 1
        return train(run)

    with monkeypatch.context() as patch:
        patch.setattr(full._Run, "train_epoch", train_epoch)
        with pytest.raises(Killed):
            retrained(alone(request_))
    assert metrics(retrained(alone(request_))) == metrics(three)


def test_a_kill_before_the_logits_are_there_leaves_no_trace(
    three: Retrained,
    request_: RetrainRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*rest: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("nas.tune.training.keep_logits", killed)
        with pytest.raises(Killed):
            retrained(alone(request_))
    assert (request_.home / BEST / "metrics.json").exists()
    assert not (request_.home / FIRST).exists()
    assert metrics(retrained(alone(request_))) == metrics(three)


def test_under_ray_as_one_after_the_other(three: Retrained, request_: RetrainRequest) -> None:
    assert metrics(retrained(replace(alone(request_), concurrency=2))) == metrics(three)


def test_a_teacher_stays_the_teacher_of_later_calls(request_: RetrainRequest) -> None:
    request = replace(request_, references=(), seeds=1)
    retrained(replace(request, select=f"{FIRST},{LAST}"))
    assert teacher_of(request.home / FIRST) == LAST
    done = retrained(replace(request, select=BEST))
    assert teacher_of(request.home / BEST) == LAST
    assert [one["network"] for one in done.metrics] == [LAST, BEST]
    assert done.summary is not None
    assert len(done.summary["networks"]) == 3
    retrained(replace(request, select=LAST))  # the teacher alone is refused nothing
    with pytest.raises(ValueError, match=r"another recipe \(teacher: \w{12} there, None asked\)"):
        retrained(replace(request, teacher=False))


def test_a_single_network_has_nobody_to_learn_from(request_: RetrainRequest) -> None:
    done = retrained(replace(request_, select=FIRST, references=(), seeds=1))
    assert done.notes[-1].startswith("--teacher: a single network")
    assert teacher_of(request_.home / FIRST) is None
    assert not list(request_.home.rglob(LOGITS))


def test_without_a_teacher_nobody_is_taught_wrongly(request_: RetrainRequest) -> None:
    """One that diverges has no logits; its students are not trained without a word."""
    hot = RECIPE.model_copy(update={"learning_rate": 100.0, "weight_decay": 1.0, "epochs": 12})
    done = retrained(replace(request_, recipe=hot, seeds=1))
    assert not done.metrics
    assert done.failures[0].startswith(f"{BEST} seed 0: the loss is ")
    assert done.failures[1].startswith("the other networks: not trained, for want of their teacher")


def test_short_runs_choose_the_rate_where_they_have_enough_steps(request_: RetrainRequest) -> None:
    long = RECIPE.model_copy(update={"epochs": 25, "batch_size": 2})  # 2,500 steps
    request = replace(request_, references=(), seeds=1, auto_rate=True)
    done = retrained(replace(request, select=FIRST, teacher=False))
    assert not (request.home / FOLDER).exists()  # a short run would be a single step
    assert done.notes[0].startswith("--learning-rate auto: a short run of 1 step would")
    request = replace(
        requested(request_.home / "long"),
        recipe=long,
        references=(),
        seeds=1,
        auto_rate=True,
        select=FIRST,
        teacher=False,
    )
    done = retrained(request)
    rates = {one["learning_rate"] for one in done.metrics}
    assert len(rates) == 1
    runs = list((request.home / FOLDER / SHORT_RUNS).glob("*/arch.json"))
    assert 3 <= len(runs) <= 5
    assert done.summary is not None
    assert not done.summary["left_out"]
    assert not done.summary["set_aside"]
    assert "--learning-rate auto" in dict(next_steps(done.summary))["export"]
    assert retrained(request).summary == done.summary


def test_few_images_train_again_with_a_teacher_too(request_: RetrainRequest) -> None:
    """Networks that the first recipe hardly trains take the second one, which has no teacher."""
    slow = RECIPE.model_copy(update={"learning_rate": 1e-6, "train_images": None})
    request = replace(
        request_, recipe=slow, seeds=1, references=(), adapted=("batch_size", "learning_rate")
    )
    done = retrained(request)
    assert {one["learning_rate"] for one in done.metrics} >= {RECIPE.learning_rate}
    assert metrics(retrained(request)) == metrics(done)
    assert (request.home / "second-recipe" / f"{FIRST}-first").is_dir()
    stored = json.loads((request.home / "second-recipe" / "choices.json").read_text())
    assert stored[FIRST]["first"]["teacher"] == BEST
    assert math.isfinite(stored[FIRST]["val_accuracy"]["first"])
