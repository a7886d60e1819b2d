"""The files of the reference run agree with each other, and its commands are accepted."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import typer

from nas.retrain.comparison import read_summary, summarise
from nas.retrain.references import SEARCHED
from nas.retrain.select import select
from nas.study.front_file import load_front
from nas.training import Recipe

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "results/reference-fashion-mnist"


@pytest.fixture(scope="module")
def summary() -> dict:
    recorded = read_summary(FOLDER / "retrained")
    assert recorded is not None
    return recorded


def commands() -> list[list[str]]:
    """Words of the run's commands with their variables filled in, on the front in this folder."""
    script = (FOLDER / "run.sh").read_text().replace("\\\n", " ")
    for name, value in re.findall(r'^(\w+)="?([^"\n]*)"?$', script, re.MULTILINE):
        script = script.replace(f"${name}", value)
    script = re.sub(r"results/\S+front\.json", str(FOLDER / "front.json"), script)
    return [shlex.split(line) for line in script.splitlines() if line.startswith("python ")]


def test_the_summary_is_that_of_the_networks(summary: dict, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "retrained", tmp_path / "retrained")
    recipe = Recipe.model_validate(summary["recipe"])
    again = summarise(load_front(FOLDER / "front.json"), tmp_path / "retrained", [recipe])
    assert again is not None
    again = json.loads(json.dumps(again))
    assert Recipe.model_validate(again["recipe"]) == recipe
    assert again["other_recipes"] == again["left_out"] == again["set_aside"] == []
    rows = again.pop("networks")  # the file was written by a version with fewer fields
    for row, recorded in zip(rows, summary["networks"], strict=True):
        assert {name: row[name] for name in recorded} == recorded
    assert all(
        again[name] == summary[name] for name in summary.keys() - {"networks", "recipe", "home"}
    )


def test_searched_networks_are_of_the_front(summary: dict) -> None:
    known = {entry.arch_id: entry.macs for entry in load_front(FOLDER / "front.json").architectures}
    searched = [row for row in summary["networks"] if row["family"] == SEARCHED]
    assert len(searched) >= 4
    assert all(known[row["name"]] == row["macs"] for row in searched)


def test_every_network_of_the_front_uses_dct() -> None:
    for entry in load_front(FOLDER / "front.json").architectures:
        assert all(stage.expansion == "dct" for stage in entry.build_arch().stages)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_recorded_commands(words: list[str], summary: dict) -> None:
    """Their arguments are accepted, and they select the networks that were trained."""
    name = Path(words[1]).stem
    command = typer.main.get_command(import_module(f"nas.cli.{name}").app)
    given = command.make_context(name, words[2:]).params
    if name == "retrain":
        selected = select(load_front(FOLDER / "front.json"), given["select"])
        assert {entry.arch_id for entry in selected} <= {row["name"] for row in summary["networks"]}
    else:
        assert (name, given["budget"]) == ("search", 200)
