"""The search as a user runs it: real processes, real Ray, the digits."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from in_process import Ran
from optuna.trial import TrialState

from nas.stopping.right_images import decode

ROOT = Path(__file__).parent.parent.parent
BASE = ("--space", str(ROOT / "search_spaces/tiny.yaml"), "--dataset", "digits")
QUICK = (*BASE, "--study", "t", "--epochs", "1", "--train-images", "200")


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "runners/search.py"), *arguments]


def search(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=300
    )


def open_study(folder: Path, name: str = "t") -> optuna.Study:
    return optuna.load_study(
        study_name=name, storage=f"sqlite:///{folder / 'results' / name / 'study.db'}"
    )


def counted(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    trials = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [trial for trial in trials if "duplicate_of" not in trial.user_attrs]


def test_search_then_continue_then_nothing_left_to_do(
    tmp_path: Path, run_runner: Callable[..., Ran]
) -> None:
    first = search(tmp_path, *QUICK, "--budget", "4")
    assert first.returncode == 0, first.stderr
    study = open_study(tmp_path)
    assert study.metric_names == ["accuracy", "macs"]
    before = {t.user_attrs["arch_id"]: t.values for t in counted(study)}
    assert len(before) == 4

    second = search(tmp_path, *QUICK, "--budget", "6", "--concurrency", "1", "--json")
    assert second.returncode == 0, second.stderr
    result = json.loads(second.stdout)
    assert result["counted"] == 6
    trials = counted(open_study(tmp_path))
    after = {t.user_attrs["arch_id"]: t.values for t in trials}
    assert len(after) == len(trials) == 6
    assert before.items() <= after.items()
    states = {t.state for t in open_study(tmp_path).get_trials()}
    assert TrialState.RUNNING not in states
    front = json.loads((tmp_path / "results/t/front.json").read_text())
    assert [a["arch_id"] for a in front["architectures"]] == [a["arch_id"] for a in result["front"]]
    table = pd.read_csv(tmp_path / "results/t/trials.csv")
    assert set(table["arch_id"].dropna()) >= set(after)
    for trial in trials:
        kept = trial.user_attrs
        assert len(kept["losses"]) == kept["epochs"]
        shares = [[epoch, decode(text).mean()] for epoch, text in kept["right"]]
        assert shares == kept["curve"]

    third = run_runner("search", *QUICK, "--budget", "6")
    assert third.code == 0
    assert "Pareto front" in third.out
    assert len(counted(open_study(tmp_path))) == 6

    refused = run_runner("search", *BASE, "--study", "t", "--epochs", "2", "--budget", "6")
    assert refused.code == 2
    assert "--epochs: 1 in the study, 2 asked; accepted: the study's settings" in refused.err
    assert refused.err.splitlines()[1:] == refused.err.splitlines()[-1:]


def test_a_search_of_int8_accuracies_says_so_and_stays_one(
    tmp_path: Path, run_runner: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ONNX nor its runtime is needed: here both cannot be imported."""
    (tmp_path / "without").mkdir()
    for name in ("onnx", "onnxruntime"):
        (tmp_path / "without" / f"{name}.py").write_text("raise ImportError")
        monkeypatch.setitem(sys.modules, name, None)
    path = f"{tmp_path / 'without'}:{os.environ.get('PYTHONPATH', '')}"
    plan = run_runner("search", *QUICK, "--quantized", "--budget", "3", "--dry-run")
    assert "accuracies     of the networks in int8\n" in plan.out
    first = subprocess.run(
        command(*QUICK, "--quantized", "--budget", "3", "--concurrency", "1"),
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert "accuracies: of the networks in int8\n" in first.stderr
    assert json.loads((tmp_path / "results/t/front.json").read_text())["quantized"] is True
    refused = run_runner("search", *QUICK, "--budget", "4")
    assert refused.code == 2
    assert "--quantized: yes in the study, no asked; accepted: the study's" in refused.err
    assert sum("error" in line for line in refused.err.splitlines()) == 1


def test_dry_run_writes_nothing(tmp_path: Path, run_runner: Callable[..., Ran]) -> None:
    before = list(tmp_path.iterdir())
    ran = run_runner("search", *QUICK, "--budget", "4", "--dry-run")
    assert ran.code == 0, ran.err
    for name in ("space", "data set", "recipe", "cost range", "concurrency"):
        assert f"\n{name} " in "\n" + ran.out
    assert re.search(r"^augmentation +crops from a margin of 1 px$", ran.out, re.M)
    assert re.search(r"^time +about \d.* for 4 trials without stopping any$", ran.out, re.M)
    assert list(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_search_continues(tmp_path: Path, number: signal.Signals) -> None:
    slow = (*BASE, "--study", "t", "--epochs", "300", "--budget", "3", "--concurrency", "1")
    driver = subprocess.Popen(
        command(*slow), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "results/t/search.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and "started" in log.read_text()):
        assert time.monotonic() < deadline
        assert driver.poll() is None
        time.sleep(0.2)
    os.kill(driver.pid, number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 128 + number, err
    assert f"; to continue: {shlex.join(command(*slow))}\n" in out
    study = open_study(tmp_path)
    trials = study.get_trials()
    assert TrialState.RUNNING not in {trial.state for trial in trials}
    lost = [t for t in trials if t.user_attrs.get("reason") == "interrupted"]
    waiting = [t for t in trials if t.state == TrialState.WAITING]
    assert len(lost) == len(waiting) == 1
    assert waiting[0].user_attrs["retry_of"] == lost[0].number


def test_timeout_ends_the_search_and_keeps_it(tmp_path: Path) -> None:
    slow = (*BASE, "--study", "t", "--epochs", "300", "--budget", "3", "--concurrency", "1")
    ran = search(tmp_path, *slow, "--timeout", "12s")
    assert ran.returncode == 0, ran.stderr
    assert "--timeout reached" in ran.stdout
    assert TrialState.RUNNING not in {t.state for t in open_study(tmp_path).get_trials()}


def test_second_driver_is_refused_by_name(tmp_path: Path) -> None:
    from nas.study.storage.lock import lock_study

    (tmp_path / "results/t").mkdir(parents=True)
    lock = lock_study(f"sqlite:///{tmp_path / 'results/t/study.db'}", "t")
    ran = search(tmp_path, *QUICK, "--budget", "2")
    lock.release()
    assert ran.returncode == 1
    assert f"process {os.getpid()} on" in ran.stderr
    assert len([line for line in ran.stderr.splitlines() if line.startswith("error")]) == 1


def test_diverging_trials_fail_with_their_reason_and_end_the_search(tmp_path: Path) -> None:
    ran = search(tmp_path, *QUICK, "--budget", "5", "--learning-rate", "100", "--max-failures", "1")
    failed = [t for t in open_study(tmp_path).get_trials() if t.state == TrialState.FAIL]
    reasons = [t.user_attrs["reason"] for t in failed]
    if ran.returncode == 1:
        assert "--max-failures 1" in ran.stdout
        assert reasons.count("diverged") >= 2
    else:
        assert set(reasons) <= {"diverged", "interrupted"}


@pytest.mark.slow
def test_same_seed_gives_the_same_search(tmp_path: Path) -> None:
    sequences = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        ran = search(folder, *QUICK, "--budget", "20", "--concurrency", "1", "--seed", "3")
        assert ran.returncode == 0, ran.stderr
        trials = counted(open_study(folder))
        sequences.append([(t.user_attrs["arch_id"], t.values) for t in trials])
    assert len(sequences[0]) == 20
    assert sequences[0] == sequences[1]
