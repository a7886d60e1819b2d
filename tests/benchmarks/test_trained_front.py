"""The benchmark of a trained front: its figures, and one tiny run of both versions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.commands import ROOT
from benchmarks.trained_front import EARLIER, STEPS, TODAY, Runs, run_and_report, summarise


def test_hours_are_of_all_cores_and_networks_are_paired_by_cost() -> None:
    rows = [
        {
            "version": version,
            "seed": 0,
            "seconds": dict.fromkeys(STEPS, seconds),
            "networks": [
                {
                    "macs": macs,
                    "test_images": 10_000,
                    "test_accuracy": accuracy + gain,
                    "test_accuracies": [accuracy + gain + noise for noise in (-0.001, 0.001)],
                }
                for macs, accuracy in ((100, 0.8), (200, 0.9))
            ],
        }
        for version, seconds, gain in ((EARLIER, 1200.0, 0.0), (TODAY, 300.0, 0.02))
    ]
    (of,) = summarise(rows, cores=2)
    assert of["core_hours"] == {EARLIER: pytest.approx(2.0), TODAY: pytest.approx(0.5)}
    assert of["ratio"] == pytest.approx(0.25)
    assert of["difference"] == pytest.approx(0.02)
    # 2 of 20 and 2 of 10 points, a tenth and a fifth of the errors.
    assert of["fewer_errors"] == pytest.approx(1 - math.sqrt(0.9 * 0.8), abs=1e-4)
    assert 0 < of["low"] < of["fewer_errors"] < of["high"] < 0.2
    assert summarise(rows[:1], cores=2) == []  # nothing to compare yet


def test_a_folder_that_is_no_checkout_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--earlier: .* accepted: a checkout"):
        run_and_report(Runs(tmp_path / "runs", tmp_path), 1, None)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_search_and_its_trainings_by_two_checkouts(tmp_path: Path) -> None:
    training = {
        EARLIER: ("--epochs", 2, "--learning-rate", "0.1,0.2"),
        TODAY: ("--epochs", 1, "--learning-rate", "auto"),
    }
    runs = Runs(tmp_path, ROOT, 12, "400k", dataset="digits", training=training)
    file = tmp_path / "figures.json"
    run_and_report(runs, 1, file)
    figures = json.loads(file.read_text())
    for row in figures["rows"]:
        assert list(row["seconds"]) == list(STEPS)
        counts = [len(network["test_accuracies"]) for network in row["networks"]]
        assert counts == [1, 2, 2, 1]
    assert figures["summary"][0]["seed"] == 0
    before = file.read_text()
    run_and_report(runs, 1, file)  # read, not made again
    assert file.read_text() == before
