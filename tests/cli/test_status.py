"""What `runners/status.py` says of studies, and what `--repair` does."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from nas.study.config import StudyConfig
from nas.study.front_file import load_front
from nas.study.measurement import Measurement
from nas.study.storage.engine import open_storage, sqlite_url
from nas.study.storage.lock import lock_study
from nas.study.study import SearchStudy

optuna.logging.set_verbosity(optuna.logging.ERROR)


def make_study(folder: Path, config: StudyConfig) -> optuna.Study:
    """2 finished, 1 stopped, 1 diverged, 1 left running."""
    study = optuna.create_study(
        storage=open_storage(sqlite_url(folder / "study.db"), create=True),
        study_name=folder.name,
        directions=config.objectives.directions,
        sampler=RandomSampler(seed=0),
    )
    for key, value in config.to_attributes().items():
        study.set_user_attr(key, value)
    search = SearchStudy(study, config, budget=9)
    numbers = []
    for _ in range(5):
        candidate = search.ask()
        assert candidate is not None
        numbers.append(candidate.number)
    for number, accuracy in zip(numbers, (0.5, 0.75), strict=False):
        search.complete(number, Measurement(accuracy, 2, 1.0, ((2, accuracy),)))
    search.stop(numbers[2], Measurement(0.9, 1, 1.0, ((1, 0.9),)))
    search.fail(numbers[3], "diverged")
    return study


@pytest.fixture
def study(tmp_path: Path, tiny_config: StudyConfig) -> optuna.Study:
    return make_study(tmp_path / "results/one", tiny_config)


def look(run_runner: Callable[..., Any], *arguments: str) -> list[dict[str, Any]]:
    ran = run_runner("status", *arguments, "--json")
    assert ran.code == 0, ran.err
    result: list[dict[str, Any]] = json.loads(ran.out)
    return result


def test_what_a_study_holds(run_runner: Callable[..., Any], study: optuna.Study) -> None:
    (status,) = look(run_runner)
    assert status["study"] == "one"
    assert status["states"] == {"finished": 2, "stopped": 1, "failed": 1, "running": 1}
    assert status["reasons"] == {"diverged": 1}
    assert status["counted"] == 3
    assert status["left_running"] == 1
    assert status["owner"] is None
    assert max(point["accuracy"] for point in status["best"]) == 0.75
    assert status["last_activity"] is not None
    assert [t.state for t in study.get_trials()].count(TrialState.RUNNING) == 1


def test_refused_networks_are_no_failures(
    run_runner: Callable[..., Any], study: optuna.Study, tiny_config: StudyConfig
) -> None:
    search = SearchStudy(study, tiny_config, budget=9)
    candidate = search.ask()
    assert candidate is not None
    search.refuse(candidate.number, 0.02)
    (status,) = look(run_runner)
    assert status["states"]["refused"] == 1
    assert status["reasons"] == {"diverged": 1}


def test_the_owner_is_named_and_repair_is_refused(
    run_runner: Callable[..., Any], study: optuna.Study, tmp_path: Path
) -> None:
    lock = lock_study(sqlite_url(tmp_path / "results/one/study.db"), "one")
    try:
        (status,) = look(run_runner, "results/one")
        assert f"process {os.getpid()} on" in status["owner"]
        assert status["left_running"] == 0
        ran = run_runner("status", "results/one", "--repair")
        assert ran.code == 1
        assert f"process {os.getpid()} on" in ran.err
    finally:
        lock.release()


def test_one_study_of_several(run_runner: Callable[..., Any], study: optuna.Study) -> None:
    Path("results/other").mkdir()
    Path("results/other/study.db").write_text("no database")
    (status,) = look(run_runner, "--study", "one")
    assert status["study"] == "one"
    assert run_runner("status", "--study", "missing").code == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trials SET state = 'LOST'",
        "ALTER TABLE trial_values RENAME TO other",
    ],
)
def test_a_damaged_study_hides_no_other_one(
    run_runner: Callable[..., Any], study: optuna.Study, tiny_config: StudyConfig, change: str
) -> None:
    make_study(Path("results/two").absolute(), tiny_config)
    with contextlib.closing(sqlite3.connect("results/one/study.db")) as connection:
        connection.execute(change)
        connection.commit()
    ran = run_runner("status", "--json")
    assert ran.code == 1
    damaged, whole = json.loads(ran.out)
    assert damaged["study"] == "one"
    assert damaged["problem"]
    assert whole["problem"] is None
    assert whole["counted"] == 3


def test_repair_queues_what_was_left_and_writes_the_files(
    run_runner: Callable[..., Any], study: optuna.Study
) -> None:
    folder = Path("results/one")
    (folder / ".front.json.x1y2").write_text("{")
    (folder / ".study.db.x1y2").mkdir()
    (status,) = look(run_runner, "results/one", "--repair")
    assert status["states"] == {
        "finished": 2,
        "stopped": 1,
        "failed": 1,
        "interrupted": 1,
        "queued": 1,
    }
    assert status["reasons"] == {"diverged": 1}
    assert not list(folder.glob("*.x1y2"))
    assert len(load_front(folder / "front.json").architectures) == status["front"]
    assert len((folder / "trials.csv").read_text().splitlines()) == 1 + len(study.get_trials())
    (again,) = look(run_runner, "results/one", "--repair")
    assert again["states"] == status["states"]


def test_all_studies_and_one_that_cannot_be_read(
    run_runner: Callable[..., Any], study: optuna.Study, tiny_config: StudyConfig
) -> None:
    make_study(Path("results/two").resolve(), tiny_config)
    assert [status["study"] for status in look(run_runner)] == ["one", "two"]
    Path("results/none").mkdir()
    Path("results/none/study.db").write_text("no database, but long enough to look like one " * 9)
    ran = run_runner("status")
    assert ran.code == 1
    assert "not a database" in ran.out
    assert ran.out.count("last activity") == 2
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing",),
        ("--storage", "mysql://user:secret@host/db"),
        ("--storage", "sqlite:///empty.db"),
        ("results", "--no-such-option"),
    ],
)
def test_mistakes_are_one_line(run_runner: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    ran = run_runner("status", *arguments)
    assert ran.code == 2
    assert ran.err.strip().splitlines()[-1].startswith("error: ")
    assert "secret" not in ran.err


def test_balanced_accuracy_is_called_so(
    run_runner: Callable[..., Any], tmp_path: Path, tiny_config: StudyConfig
) -> None:
    recipe = tiny_config.recipe.model_copy(update={"metric": "balanced-accuracy"})
    for name, config in (("b", replace(tiny_config, recipe=recipe)), ("p", tiny_config)):
        (tmp_path / "results" / name).mkdir(parents=True)
        make_study(tmp_path / "results" / name, config)
        out = run_runner("status", f"results/{name}").out
        assert ("75.00 % balanced accuracy (estimate)  " in out) == (name == "b")


def test_accuracy_in_int8_is_called_so(
    run_runner: Callable[..., Any], tmp_path: Path, tiny_config: StudyConfig
) -> None:
    recipe = tiny_config.recipe.model_copy(update={"metric": "balanced-accuracy"})
    for name, config, words in (
        ("q", tiny_config, "int8 accuracy"),
        ("b", replace(tiny_config, recipe=recipe), "int8 balanced accuracy"),
    ):
        (tmp_path / "results" / name).mkdir(parents=True)
        make_study(tmp_path / "results" / name, replace(config, quantized=True))
        assert f"75.00 % {words} (estimate)  " in run_runner("status", f"results/{name}").out
        (status,) = json.loads(run_runner("status", f"results/{name}", "--json").out)
        assert status["quantized"] is True
