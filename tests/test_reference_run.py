"""The files of the reference run agree with each other, and its commands are accepted."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import typer

from nas.retrain.comparison import read_summary, summarise
from nas.retrain.references import DCT_TWIN, SEARCHED
from nas.retrain.select import select
from nas.study.front_file import load_front
from nas.training import Recipe

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "results/reference-fashion-mnist"
# Names of the studies that the script makes: where the files of this run are.
STUDIES = {
    "reference-again": FOLDER,
    "reference-again-seed-1": FOLDER / "seed-1",
    "reference-again-seed-2": FOLDER / "seed-2",
    "reference-again-pointwise": FOLDER / "pointwise",
}
RETRAINED = (FOLDER, FOLDER / "pointwise")


def commands() -> list[list[str]]:
    """Words of the run's commands with their variables filled in, on the fronts of this run."""
    script = (FOLDER / "run.sh").read_text().replace("\\\n", " ")
    for name, value in re.findall(r'^(\w+)="([^"\n]*)"$', script, re.MULTILINE):
        script = script.replace(f"${name}", value)
    for study, folder in STUDIES.items():
        script = script.replace(f"results/{study}/front.json", str(folder / "front.json"))
    return [shlex.split(line) for line in script.splitlines() if line.startswith("python ")]


@pytest.mark.parametrize("folder", RETRAINED, ids=lambda folder: folder.name)
def test_the_summary_is_that_of_the_networks(folder: Path, tmp_path: Path) -> None:
    summary = read_summary(folder / "retrained")
    assert summary is not None
    shutil.copytree(folder / "retrained", tmp_path / "retrained")
    recipe = Recipe.model_validate(summary["recipe"])
    again = summarise(load_front(folder / "front.json"), tmp_path / "retrained", [recipe])
    assert again is not None
    again = json.loads(json.dumps(again))
    assert again["other_recipes"] == again["left_out"] == []
    assert all(again[name] == summary[name] for name in summary.keys() - {"home", "options"})


@pytest.mark.parametrize("folder", RETRAINED, ids=lambda folder: folder.name)
def test_searched_networks_are_of_the_front(folder: Path) -> None:
    summary = read_summary(folder / "retrained")
    assert summary is not None
    known = {entry.arch_id: entry.macs for entry in load_front(folder / "front.json").architectures}
    searched = [row for row in summary["networks"] if row["family"] == SEARCHED]
    assert all(known[row["name"]] == row["macs"] for row in searched)
    # Two of the six trainings of DCT twins diverged.
    assert all(
        row["seeds"] == (2 if row["family"] == DCT_TWIN else 3) for row in summary["networks"]
    )


@pytest.mark.parametrize("folder", STUDIES.values(), ids=list(STUDIES))
def test_a_search_has_its_whole_budget(folder: Path) -> None:
    trials, front = pd.read_csv(folder / "trials.csv"), load_front(folder / "front.json")
    assert trials["arch_id"].nunique() == len(trials) == 200
    assert set(trials["state"]) == {"complete", "pruned"}
    finished = set(trials.loc[trials["state"] == "complete", "arch_id"])
    assert {entry.arch_id for entry in front.architectures} <= finished


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_recorded_commands(words: list[str]) -> None:
    """Their arguments are accepted, and they select the networks that were trained."""
    name = Path(words[1]).stem
    command = typer.main.get_command(import_module(f"nas.cli.{name}").app)
    given = command.make_context(name, words[2:]).params
    if name == "search":
        assert given["study"] in STUDIES
        assert given["budget"] == 200
        return
    front = next(Path(word) for word in words if word.endswith("front.json"))
    summary = read_summary(front.parent / "retrained")
    assert summary is not None
    selected = select(load_front(front), given["select"])
    assert {entry.arch_id for entry in selected} <= {row["name"] for row in summary["networks"]}
