from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from nas.report.analysis import read_study
from nas.report.dashboard import annotate_study
from nas.report.study_folder import refresh_report, report_study
from nas.study.config import StudyConfig
from nas.study.front import front
from nas.study.location import folder_location, open_study
from nas.study.storage.engine import sqlite_url
from nas.study.storage.lock import lock_study
from nas.study.storage.optuna_private import study_storage, trial_handle

SyntheticStudy = Callable[..., optuna.Study]


def notes(study: optuna.Study) -> dict[int, str]:
    """Notes of trials by number, those that are not empty."""
    handles = [trial_handle(study, trial.number) for trial in study.get_trials()]
    return {handle.number: note for handle in handles if (note := get_note(handle))}


def graphs(study: optuna.Study) -> dict[str, str]:
    return get_plotly_graph_objects(
        study_storage(study).get_study_system_attrs(
            study_storage(study).get_study_id_from_name(study.study_name)
        )
    )


def test_the_study_explains_itself(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    study = synthetic_study(tiny_config, 100, storage=tmp_path / "study.db")
    annotate_study(study, read_study(study, tiny_config))
    assert study.metric_names == ["accuracy", "macs"]
    assert "FLOPs (multiply-adds)" in get_note(study)
    members = front(study, tiny_config)
    assert notes(study).keys() == {member.trial.number for member in members}
    for member in members:
        note = notes(study)[member.trial.number]
        assert member.attributes["arch_id"] in note
        assert ("knee" in note) == member.knee
    assert graphs(study).keys() >= {"nas-front", "nas-hypervolume-trials", "nas-choices"}
    assert all(json.loads(graph)["data"] for graph in graphs(study).values())


def test_annotating_again_follows_the_front(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    study = synthetic_study(tiny_config, 40)
    annotate_study(study, read_study(study, tiny_config))
    first, names = notes(study), graphs(study).keys()
    better = next(m.trial for m in front(study, tiny_config) if m.knee)
    study.add_trial(
        optuna.trial.create_trial(
            values=[0.999, better.values[1]],
            params=better.params,
            distributions=better.distributions,
            user_attrs=better.user_attrs | {"accuracy": 0.999},
        )
    )
    annotate_study(study, read_study(study, tiny_config))
    second = notes(study)
    members = {member.trial.number for member in front(study, tiny_config)}
    assert graphs(study).keys() == names
    for number in first.keys() | second.keys():
        assert second[number].startswith("### On" if number in members else "### Was on")


def test_a_users_notes_stay(synthetic_study: SyntheticStudy, tiny_config: StudyConfig) -> None:
    study = synthetic_study(tiny_config, 40)
    member = front(study, tiny_config)[0]
    handle = trial_handle(study, member.trial.number)
    save_note(handle, "mine")
    save_note(study, "mine too")
    annotate_study(study, read_study(study, tiny_config))
    assert get_note(handle) == "mine"
    assert get_note(study) == "mine too"


@pytest.mark.parametrize("kind", [{"trials": 0}, {"trials": 1, "failed": 1}])
def test_studies_without_a_front_are_annotated(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, kind: dict[str, int]
) -> None:
    study = synthetic_study(tiny_config, **kind)
    annotate_study(study, read_study(study, tiny_config))
    assert get_note(study)


def test_the_runner_reports_and_keeps_out_of_a_running_search(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "synthetic"
    folder.mkdir()
    synthetic_study(tiny_config, 30, storage=folder / "study.db")
    location = folder_location(folder, "sqlite:///another.db", None)
    study, _ = open_study(location)
    lock = lock_study(location.storage, "synthetic")
    assert report_study(location, folder) == (folder / "report.html", False)
    assert notes(study) == {}
    lock.release()
    assert report_study(location, folder) == (folder / "report.html", True)
    assert notes(study)
    assert location.storage == sqlite_url(folder / "study.db")


def test_folders_without_a_study_are_named(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        folder_location(tmp_path / "nowhere", None, None)
    synthetic_study(tiny_config, 1, storage=tmp_path / "study.db", name="other")
    with pytest.raises(ValueError, match=tmp_path.name):
        open_study(folder_location(tmp_path, None, None))
    assert open_study(folder_location(tmp_path, None, "other"))[0].study_name == "other"
    assert not (tmp_path / "nowhere").exists()


def test_a_study_in_another_database_follows_its_retraining(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "t", tmp_path / "shared.db"
    folder.mkdir()
    assert refresh_report(folder, "t", None) is None  # no study's folder
    (folder / "report.html").write_text("an earlier one")
    with pytest.raises(ValueError, match=r"t: holds no study.db; accepted: --storage URL, or NAS"):
        refresh_report(folder, "t", None)
    study = synthetic_study(tiny_config, 30, storage=elsewhere, name="t")
    assert get_note(study) == ""
    refresh_report(folder, "t", sqlite_url(elsewhere))
    assert "The finding" in get_note(study)
    assert "an earlier one" not in (folder / "report.html").read_text()
