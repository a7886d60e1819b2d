"""The first screen of `--help`, and what a mistyped option leads to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

SCREEN = 24  # lines of a terminal that nobody made larger


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")


def test_the_first_screen_is_enough_to_start(run_runner: Callable[..., Any]) -> None:
    ran = run_runner("search", "--help")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    first = "\n".join(lines[: SCREEN - 1])  # the prompt takes a line
    for words in (
        "python runners/search.py --budget 200",
        "--dataset",
        "--space",
        "--max-macs",
        "FLOPs (multiply-adds)",
        "--dry-run",
        "--help",
    ):
        assert words in first
    assert first.index("--budget 200") < first.index("To start with")
    assert first.count("╰") == 1  # the first group is whole


def test_help_names_every_group_once(run_runner: Callable[..., Any]) -> None:
    groups = re.findall("╭─ (.*?) ─", run_runner("search", "--help").out)
    assert groups == [
        "To start with", "What is searched", "Limits", "How", "Where it runs", "Output",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--buget", "--budget"),
        ("--n-trials", "--budget"),
        ("--max-flops", "--max-macs"),
        ("--concurency=2", "--concurrency"),
        ("--lr", "--learning-rate"),
        ("--Epochs", "--epochs"),
    ],
)
def test_wrong_options_get_the_right_one(
    run_runner: Callable[..., Any], typed: str, meant: str
) -> None:
    ran = run_runner("search", "--budget", "3", typed, "1")
    assert ran.code == 2
    assert ran.err.strip() == f"error: {typed.split('=')[0]}: no such option; did you mean {meant}?"


@pytest.mark.parametrize(
    ("option", "value", "accepted"),
    [
        ("--budget", "many", "a whole number"),
        ("--seed", "1.5", "a whole number"),
        ("--learning-rate", "fast", "a number"),
    ],
)
def test_no_numbers_are_told_what_is_accepted(
    run_runner: Callable[..., Any], option: str, value: str, accepted: str
) -> None:
    ran = run_runner("search", "--budget", "3", option, value)
    assert (ran.code, ran.err.strip()) == (2, f"error: {option}: '{value}'; accepted: {accepted}")


def test_an_option_like_no_other_points_to_the_help(run_runner: Callable[..., Any]) -> None:
    ran = run_runner("search", "--zzzzzz")
    assert (ran.code, "--help" in ran.err) == (2, True)


def test_report_names_a_folder_without_a_study(run_runner: Callable[..., Any]) -> None:
    ran = run_runner("report", "results/nowhere")
    assert ran.code == 2
    assert "results/nowhere" in ran.err
    assert ran.err.count("error: ") == 1


@pytest.mark.parametrize("runner", ["search", "retrain", "predict", "report", "benchmark"])
def test_without_arguments_the_help_is_all(run_runner: Callable[..., Any], runner: str) -> None:
    ran = run_runner(runner)
    assert (ran.code, ran.err) == (2, "")
    assert f"runners/{runner}.py" in ran.out
    # A value's name says what it is; a type in Python's words does not.
    assert runner == "benchmark" or not re.search("<(bool|str|int|float)", ran.out)
