"""Earlier studies on the command line of a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from in_process import Ran

import nas
from nas.data import load_search_data
from nas.space.arch import Arch
from nas.training import get_recipe


def train(arch: Arch, seed: int) -> Iterator[tuple[int, float]]:
    yield from ((1, 0.01 * arch.stem), (2, 0.01 * sum(stage.width for stage in arch.stages)))


def test_command_line_shows_sources_in_its_plan(
    tmp_path: Path, run_runner: Callable[..., Ran]
) -> None:
    folder = tmp_path / "results" / "before"
    folder.mkdir(parents=True)
    front = nas.run_search(
        nas.SearchSpace.from_yaml("tiny"), load_search_data("digits", Path("data")).info, 8,
        train=train, recipe=get_recipe("short-cpu", epochs=2), name="before", quiet=True,
        storage=f"sqlite:///{folder / 'study.db'}",
    )  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps([entry.arch for entry in front.architectures]))
    words = ("--budget", "9", "--space", "tiny", "--dataset", "digits", "--dry-run", "--json", "-q")
    tried = ("--try", str(tmp_path / "list.json"), "--metric", "balanced-accuracy")
    done = run_runner("search", *words, "--from-study", "before", *tried)
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    assert plan["from studies"] == (
        "before (digits, 8 finished trials of accuracy; this study: balanced accuracy)"
    )
    assert plan["tried first"] == f"{len(front.architectures)} architectures"
    bad = run_runner("search", *words, "--try", str(tmp_path / "none.json"))
    assert bad.code == 2
    assert bad.err.startswith("error: --try ")
    assert bad.err.count("\n") == 1
    alone = run_runner("search", *words, "--no-source-front")
    assert alone.code == 2
    assert alone.err == "error: --no-source-front: accepted: with --from-study\n"
