"""A new objective is one entry of `OBJECTIVES`: search, report, notes and tables follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note
from rich.console import Console

from nas.api import run_search
from nas.cli.front_table import front_table
from nas.report.analysis import read_study
from nas.report.dashboard import annotate_study
from nas.report.page import render
from nas.study.config import StudyConfig
from nas.study.front_file import trials_table
from nas.study.objectives import OBJECTIVES, Objective, Objectives


@pytest.fixture
def config(tiny_config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    wire = Objective(
        "minimize", "wire", lambda b: f"{b / 1000:.1f} kB", lambda c: 4 * c.params, unit="bytes"
    )
    energy = Objective("minimize", "energy", lambda j: f"{1e3 * j:.1f} mJ", unit="J")
    monkeypatch.setitem(OBJECTIVES, "wire", wire)
    monkeypatch.setitem(OBJECTIVES, "energy", energy)
    return replace(tiny_config, objectives=Objectives(("accuracy", "wire")))


def test_report_notes_and_tables_show_it(
    config: StudyConfig, synthetic_study: Callable[..., optuna.Study]
) -> None:
    study = synthetic_study(config, 60)
    data = read_study(study, config)
    best = data.front.iloc[-1]
    assert best["wire"] == 4 * best["params"]
    shown = OBJECTIVES["wire"].format(best["wire"])
    page = render(data)
    assert "Accuracy over wire" in page
    assert "wire (bytes)" in page
    assert shown in page
    assert "energy" not in page  # no trial has it
    assert 0 < data.hypervolume["hypervolume"].iloc[-1] < 1
    annotate_study(study, data)
    assert "`wire`: wire (bytes)" in get_note(study)
    assert "wire" in trials_table(study, data.estimates)
    console = Console(width=200)
    with console.capture() as text:
        console.print(front_table(data.members, config.columns, config.objectives, 200))
    assert "wire" in text.get()
    assert shown in text.get()


def test_it_is_searched_and_only_what_is_known_can_be(config: StudyConfig, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"

    def search(objectives: Objectives) -> None:
        run_search(
            config.space, config.dataset, 3, train=lambda arch, seed: [(2, 0.5)],
            recipe=config.recipe, objectives=objectives, storage=storage,
        )  # fmt: skip

    search(config.objectives)
    trials = optuna.load_study(study_name="search", storage=storage).get_trials()
    assert all(trial.values[1] == 4 * trial.user_attrs["params"] for trial in trials)
    with pytest.raises(ValueError, match="known before training"):
        search(Objectives(("accuracy", "energy")))
    with pytest.raises(ValueError, match="macs, params, memory, flash, latency, wire, energy"):
        Objectives(("accuracy", "power"))
