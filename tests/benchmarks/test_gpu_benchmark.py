"""The GPU benchmark at toy size on the CPU: its parts, and parts that fail or hang."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.cli import app
from benchmarks.gpu import PARTS, Part, run_and_report
from benchmarks.gpu_profile import traffic
from benchmarks.gpu_search import describe
from nas.cli.options import run_app
from nas.space.arch import table2_arch

DATA = Path(__file__).parents[2] / "data"


def chosen(*names: str) -> tuple[Part, ...]:
    return tuple(part for part in PARTS if part.name in names)


def test_profile_and_sharing_at_toy_size(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    assert run_and_report(DATA, True, path, chosen("profile", "sharing"))
    parts = json.loads(path.read_text())["parts"]
    (profile,) = parts["profile"]["rows"]
    assert sum(profile["shares"].values()) == pytest.approx(1)
    assert sum(ms for _, ms in profile["operators"]) <= profile["operators_ms"] * 1.001
    rows = parts["sharing"]["rows"]
    speeds = {(row["way"], row["trials"]): row["images_per_s"] for row in rows if "trials" in row}
    ways = {"processes", "threads", "round robin"}
    assert speeds.keys() >= {(way, trials) for way in ways for trials in (1, 2)}
    assert min(speeds.values()) > 0


@pytest.mark.slow
def test_everything_at_toy_size(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    assert run_and_report(DATA, True, path)
    parts = json.loads(path.read_text())["parts"]
    assert parts.keys() == {part.name for part in PARTS}
    search, *alone = parts["search"]["rows"]
    assert search["finished"] == len(search["trials"]) == 3
    assert 0 <= search["waiting_share"] < 1
    # A training on the CPU is repeatable, so the trial and the training alone agree.
    assert alone
    assert all(row["accuracy"] == row["searched"] for row in alone)
    assert "tests collected" in parts["tests"]["rows"][0]["last"]


def test_a_part_that_fails_or_hangs_is_recorded_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = "print('{\"value\": 1}', flush=True)\n"
    (tmp_path / "failing.py").write_text(first + "raise RuntimeError('no such kernel')")
    # the worker, which holds the pipe open, ignores the first signal
    (tmp_path / "hanging.py").write_text(
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + first +
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    )  # fmt: skip
    (tmp_path / "fine.py").write_text(first)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu, "GRACE", 0.5)
    parts = tuple(
        Part(name, name, limit) for name, limit in (("failing", 30), ("hanging", 2), ("fine", 30))
    )
    path, start = tmp_path / "gpu.json", time.monotonic()
    assert not run_and_report(DATA, True, path, parts)
    assert time.monotonic() - start < 30
    report = json.loads(path.read_text())["parts"]
    assert [part["ended"] for part in report.values()] == [
        "with code 1", "cut off after 2 s", "well"
    ]  # fmt: skip
    assert [part["rows"] for part in report.values()] == [[{"value": 1}]] * 3
    assert "no such kernel" in report["failing"]["errors"][-1]


def test_the_parts_take_eight_minutes_at_most() -> None:
    assert sum(part.limit for part in PARTS) + gpu.GRACE <= 480
    assert gpu.LIMIT + gpu.GRACE <= 480


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_what_is_accepted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark.py", "gpu"])
    with pytest.raises(SystemExit) as ended:
        run_app(app)
    assert ended.value.code == 2
    assert "accepted: --toy" in capsys.readouterr().err


def test_waiting_is_what_the_trainings_leave_of_the_slots() -> None:
    def trial(start: float, end: float, seconds: float | None, state: str) -> dict[str, object]:
        return {"start": start, "end": end, "seconds": seconds, "state": state, "epochs": 2}

    trials = [
        trial(105, 110, 4, "COMPLETE"),
        trial(105, 108, 3, "PRUNED"),
        trial(108, 115, 5, "COMPLETE"),
        trial(101, 102, None, "FAIL"),  # never trained
    ]
    figures = describe(trials, 2, 100)
    assert figures["waiting_share"] == pytest.approx(1 - 12 / 20)
    assert (figures["first_trial_s"], figures["last_trial_s"], figures["epochs"]) == (5, 15, 6)
    assert (figures["finished"], figures["stopped"], figures["failed"]) == (2, 1, 1)


def test_traffic_is_in_proportion_to_the_images() -> None:
    arch = table2_arch(1, 2, 4)
    assert traffic(arch, 32, 3, 512) == pytest.approx(512 * traffic(arch, 32, 3, 1))
    assert traffic(arch, 32, 3, 1) == pytest.approx(4 * traffic(arch, 16, 3, 1))
