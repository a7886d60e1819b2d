"""The reference run's files belong together, and the README gives their numbers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nas.report.comparison_plots import comparison_rows
from nas.retrain.comparison import read_summary, summarise
from nas.retrain.references import SEARCHED
from nas.retrain.select import select
from nas.study.front_file import load_front
from nas.training import Recipe

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "results/reference-fashion-mnist"
README = " ".join((ROOT / "README.md").read_text().split())


@pytest.fixture(scope="module")
def summary() -> dict:
    found = read_summary(FOLDER / "retrained")
    assert found is not None
    return found


def commands() -> list[list[str]]:
    """Words of the run's commands, its variables filled in, on the front that is here."""
    script = (FOLDER / "run.sh").read_text().replace("\\\n", " ")
    for name, value in re.findall(r'^(\w+)="?([^"\n]*)"?$', script, re.MULTILINE):
        script = script.replace(f"${name}", value)
    script = re.sub(r"results/\S+front\.json", str(FOLDER / "front.json"), script)
    return [shlex.split(line) for line in script.splitlines() if line.startswith("python ")]


def test_the_readme_tells_of_the_search() -> None:
    trials = pd.read_csv(FOLDER / "trials.csv")
    counts = trials.state.value_counts()
    front = load_front(FOLDER / "front.json")
    took = pd.to_datetime(trials.ended).max() - pd.to_datetime(trials.started).min()
    minutes = took.total_seconds() / 60
    assert (
        f"{counts.sum()} networks of at most 4 M multiply-adds, {counts['pruned']} of them stopped "
        f"early, {len(front.architectures)} on the front, in {minutes:.0f} minutes"
    ) in README


def test_the_readme_tells_of_the_network_that_was_trained_for_longer() -> None:
    (folder,) = (FOLDER / "60-epochs/retrained").glob("*/")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"to {100 * metrics['test_accuracy']:.2f} %; that network is part" in README
    seconds = json.loads((folder / "export.json").read_text())["seconds"]
    one, many = (seconds["trained"][batch] / seconds["folded"][batch] for batch in ("1", "64"))
    assert f"Folded it is {one:.2f} times as fast" in README
    assert f"and {many:.2f} times for 64" in README


def test_the_readme_has_every_network(summary: dict) -> None:
    for row in comparison_rows(summary):
        line = " | ".join(row[key] for key in ("network", "macs", "params", "seeds", "test"))
        assert f"| {line} |" in README


def test_the_readme_has_every_difference(summary: dict) -> None:
    for row in summary["differences"]:
        points = [100 * row[name] for name in ("difference", "low", "high")]
        assert "{:+.2f} ({:+.2f} to {:+.2f})".format(*points) in README, row


def test_the_summary_is_that_of_the_networks(summary: dict, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "retrained", tmp_path / "retrained")
    recipe = Recipe.model_validate(summary["recipe"])
    again = summarise(load_front(FOLDER / "front.json"), tmp_path / "retrained", recipe)
    assert json.loads(json.dumps(again)) == summary


def test_searched_networks_are_of_the_front(summary: dict) -> None:
    known = {entry.arch_id: entry.macs for entry in load_front(FOLDER / "front.json").architectures}
    searched = [row for row in summary["networks"] if row["family"] == SEARCHED]
    assert len(searched) >= 4
    assert all(known[row["name"]] == row["macs"] for row in searched)


def test_every_network_of_the_front_uses_dct() -> None:
    """As the README says."""
    for entry in load_front(FOLDER / "front.json").architectures:
        assert all(stage.expansion == "dct" for stage in entry.build_arch().stages)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_recorded_commands(words: list[str], tmp_path: Path, summary: dict) -> None:
    """They are read without a mistake, and choose the networks that were trained."""
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    searches = "runners/search.py" in words
    more = ["--dataset", "digits", "--dry-run"] if searches else ["--epochs", "0"]
    ran = subprocess.run(
        [sys.executable, str(ROOT / words[1]), *words[2:], *more],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    if searches:
        assert ran.returncode == 0, ran.stderr
    else:
        assert ran.stderr.startswith("error: --epochs: '0'"), ran.stderr
        wanted = words[words.index("--select") + 1]
        chosen = {entry.arch_id for entry in select(load_front(FOLDER / "front.json"), wanted)}
        assert chosen <= {row["name"] for row in summary["networks"]}
