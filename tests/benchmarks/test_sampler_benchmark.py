import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cache import ReplayCache
from benchmarks.generate import Kind, build
from benchmarks.problems import TableProblem
from benchmarks.processes import in_processes
from benchmarks.replay import replay
from benchmarks.sampler import Job, Outcome, load_problem, outcomes, run
from benchmarks.synthetic import SyntheticProblem

ROOT = Path(__file__).parents[2]
SMALL = Kind(categorical=2, operations=3, ordinal=1, widths=4)


@pytest.fixture(scope="module")
def problem():
    return TableProblem(build(SMALL, 0, "small"))


@pytest.mark.parametrize("sampler", ["known-cost", "gp", "tpe", "nsga2", "random"])
def test_every_sampler_replays_and_repeats_itself(problem, sampler):
    first = replay(problem, sampler, 0, 14)
    assert len(first.points) == 14
    assert first.points == replay(problem, sampler, 0, 14).points
    curve = first.hypervolumes(problem.reference, problem.best, 14)
    assert (np.diff(curve) >= 0).all()
    assert 0 <= curve[-1] <= 1


@pytest.mark.slow
def test_botorch_replays(problem):
    made = replay(problem, "botorch", 0, 16)
    assert len(made.points) == 16


@pytest.mark.slow
def test_known_cost_finds_the_whole_front_of_an_exhausted_space(problem):
    made = replay(problem, "known-cost", 0, 100)
    assert made.distinct == len(made.points) == 36
    curve = made.hypervolumes(problem.reference, problem.best, 100)
    assert len(curve) == 100
    assert curve[-1] == pytest.approx(1.0)


def test_noise_changes_what_is_seen_and_not_the_score(problem):
    noisy = replay(problem, "random", 0, 10, noise=True)
    assert noisy.points == replay(problem, "random", 0, 10).points
    setting = problem.unflatten({c.name: c.values[0] for c in problem.choices})
    rng = np.random.default_rng(0)
    seen = {problem.observe(setting, rng) for _ in range(30)}
    assert seen == {1 - a for a in problem.table.accuracy[problem.table.row(setting)]}


def test_the_cache_gives_back_what_was_put_and_knows_versions(problem, tmp_path, monkeypatch):
    cache = ReplayCache(tmp_path)
    made = replay(problem, "random", 0, 5)
    cache.put(problem, "random", 0, 5, False, made)
    assert cache.get(problem, "random", 0, 5, False) == made
    assert cache.get(problem, "random", 1, 5, False) is None
    assert cache.get(problem, "random", 0, 5, True) is None
    assert cache.get(problem, "known-cost", 0, 5, False) is None  # its version is of its sources
    monkeypatch.setattr("benchmarks.cache.baseline_version", lambda name: "other")
    assert cache.get(problem, "random", 0, 5, False) is None


def test_the_cache_of_known_cost_depends_on_its_sources(problem, tmp_path):
    cache = ReplayCache(tmp_path)
    made = replay(problem, "known-cost", 0, 3)
    cache.put(problem, "known-cost", 0, 3, False, made)
    assert cache.get(problem, "known-cost", 0, 3, False) == made


def test_the_cached_runs_are_of_the_present_problems():
    kept = {folder.name for folder in (ROOT / "results/benchmarks/replays").glob("gp-*/*")}
    for source in ("generated:categorical", "generated:ordinal", "generated:mixed", "synthetic:14"):
        made = load_problem(source)
        assert f"{made.name}-{made.fingerprint}" in kept


def test_only_what_is_missing_is_run_again(tmp_path):
    counts = []

    def counting(steps, total, there):
        made = list(steps)
        counts.append((len(made), total, there))
        return made

    jobs = [Job("generated:categorical:1", "random", seed, 5, False) for seed in range(2)]
    run(jobs[1:], ReplayCache(tmp_path), 1, counting)
    results = run(jobs, ReplayCache(tmp_path), 1, counting)
    assert list(results) == jobs
    assert run(jobs, ReplayCache(tmp_path), 1, counting) == results
    assert counts == [(1, 1, 0), (1, 2, 1), (0, 2, 2)]


def test_synthetic_accuracies_on_the_full_space_are_scored_together(tmp_path):
    jobs = [
        Job(f"synthetic:{number}", sampler, 0, 6, False)
        for number in range(2)
        for sampler in ("random", "nsga2")
    ]
    scored = outcomes(run(jobs, ReplayCache(tmp_path), 1))
    assert [(outcome.table, outcome.sampler) for outcome in scored] == [
        ("full DyClotNet space", "random"),
        ("full DyClotNet space", "nsga2"),
    ]
    assert all(outcome.curves.shape == (2, 6) for outcome in scored)
    finals = np.array([outcome.curves[:, -1] for outcome in scored])
    assert (finals <= 1 + 1e-12).all()


def test_evaluations_needed_to_reach_a_value():
    outcome = Outcome("t", "random", np.array([[0.1, 0.5, 0.9], [0.3, 0.7, 1.0]]), 3, 1.0)
    assert outcome.reaches(0.6) == 2
    assert outcome.reaches(0.96) is None
    assert outcome.quartiles(1)[1] == pytest.approx(0.2)


def test_a_flat_synthetic_setting_is_one_of_the_space():
    problem = SyntheticProblem(0)
    flat = {choice.name: choice.values[-1] for choice in problem.flat}
    setting = problem.unflatten(flat)
    assert 0 < problem.error(setting) < 1
    assert problem.macs(setting) > 0
    assert problem.error(setting) == SyntheticProblem(0).error(setting)
    assert problem.error(setting) != SyntheticProblem(1).error(setting)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("generated:cubic", "accepted: categorical"),
        ("generated:mixed:x", "whole number"),
        ("synthetic:x", "whole number"),
    ],
)
def test_sources_that_are_not_known_are_named(source, message):
    with pytest.raises(ValueError, match=message):
        load_problem(source)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "runners/benchmark.py", "sampler", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_prints_and_writes_its_rows_and_figure(tmp_path):
    done = command(
        *("--table", "generated:categorical", "--samplers", "random,nsga2:1", "--evals", "30"),
        *(
            "--seeds",
            "2",
            "--jobs",
            "1",
            "--cache",
            str(tmp_path),
            "--json",
            str(tmp_path / "o.json"),
        ),
    )
    assert done.returncode == 0, done.stderr
    assert "generated-categorical-0" in done.stdout
    rows = json.loads((tmp_path / "o.json").read_text())["rows"]
    assert {(row["sampler"], row["evaluations"]) for row in rows} == {
        (sampler, mark) for sampler in ("random", "nsga2") for mark in (25, 30)
    }
    assert {row["sampler"]: row["seeds"] for row in rows} == {"random": 2, "nsga2": 1}
    assert {
        "table",
        "sampler",
        "evaluations",
        "median",
        "q25",
        "q75",
        "distinct",
        "ms_per_ask",
    } <= set(rows[0])
    assert (tmp_path / "o.html").stat().st_size > 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ("--table", "nowhere.csv"),
        ("--samplers", "random"),
        ("--table", "generated:mixed", "--samplers", "best"),
        ("--table", "generated:mixed", "--samplers", "random:0"),
        ("--table", "generated:mixed", "--seeds", "0"),
        ("--tables", "generated:mixed"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def wait_and_write(job: tuple[float, Path]) -> None:
    seconds, path = job
    time.sleep(seconds)
    path.write_text("")


def test_a_run_that_is_ended_leaves_no_job_behind(tmp_path: Path) -> None:
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    runs = in_processes(wait_and_write, [(0, quick), (20, slow)], 2)
    next(runs)
    runs.close()  # type: ignore[attr-defined]
    assert quick.exists()
    assert not slow.exists(), "the slow job was waited for"
