"""Hostile space and front files: refused with one line, or taken, and never a traceback."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import hostile_text

from nas.data import DatasetInfo
from nas.format import one_line
from nas.space.arch import table2_arch
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.study.front_file import FrontFile, load_front
from nas.training import get_recipe

ROOT = Path(__file__).parent.parent.parent
QUICK, LONG = 200, 10_000
SPACES = [yaml.safe_load(file.read_text()) for file in sorted(ROOT.glob("search_spaces/*.yaml"))]


def fuzz(
    path: Path, make: Callable[[random.Random], bytes], load: Callable[[Path], Any], times: int
) -> dict[str, Any]:
    """Load `times` hostile files; how many were taken, and the slowest in seconds of the CPU."""
    taken, slowest = 0, 0.0
    for seed in range(times):
        content = make(random.Random(seed))
        path.write_bytes(content)
        start = time.process_time()
        try:
            load(path)
            taken += 1
        except ValueError as error:
            message = one_line(str(error))
            assert len(message) < 1000, (seed, message)
            assert str(path) in message, (seed, message)
        slowest = max(slowest, time.process_time() - start)
    return {"files": times, "taken": taken, "slowest_s": round(slowest, 3)}


def space_text(rng: random.Random) -> bytes:
    dump = rng.choice([yaml.safe_dump, json.dumps])
    return hostile_text(rng.choice(SPACES), dump, rng)


def use_space(path: Path) -> None:
    """All that happens to a space before its first trial."""
    space = SearchSpace.from_yaml(path)
    assert 1 <= space.distinct_size <= space.size
    rng = random.Random(0)
    for _ in range(3):
        assert cost(space.sample(rng), 32, 3, 10).macs > 0


@pytest.fixture
def front_text(digits_info: DatasetInfo) -> Callable[[random.Random], bytes]:
    entries = []
    for alpha in (0.5, 1.0):
        arch = table2_arch(alpha)
        counted = cost(arch, 8, 1, 10)
        entries.append(
            {
                "arch_id": arch.arch_id,
                "arch": arch.to_dict(),
                "accuracy": 0.9,
                "macs": counted.macs,
                "params": counted.params,
                "trial": 0,
                "seed": 0,
                "epochs": 2,
                "knee": alpha == 1.0,
            }
        )
    good = FrontFile(
        study="t",
        dataset=digits_info.to_dict(),
        recipe=get_recipe("short-cpu").model_dump(mode="json"),
        objectives=("accuracy", "macs"),
        versions={"torch": "2"},
        architectures=tuple(entries),  # type: ignore[arg-type]
    ).model_dump(mode="json")
    return lambda rng: hostile_text(good, json.dumps, rng)


def use_front(path: Path) -> None:
    front = load_front(path)
    for entry in front.architectures:
        assert entry.build_arch().arch_id == entry.arch_id


def test_space_files(tmp_path: Path) -> None:
    fuzz(tmp_path / "space.yaml", space_text, use_space, QUICK)


def test_front_files(tmp_path: Path, front_text: Callable[[random.Random], bytes]) -> None:
    fuzz(tmp_path / "front.json", front_text, use_front, QUICK)


@pytest.mark.faults
def test_many_space_files(tmp_path: Path, record: Callable[..., None]) -> None:
    record(**fuzz(tmp_path / "space.yaml", space_text, use_space, LONG))


@pytest.mark.faults
def test_many_front_files(
    tmp_path: Path, record: Callable[..., None], front_text: Callable[[random.Random], bytes]
) -> None:
    record(**fuzz(tmp_path / "front.json", front_text, use_front, LONG))


STAGE = "{width: 16, stride: 1, repeats: 1, p: 2}"


def numbers(many: int, scale: float = 1) -> str:
    return ", ".join(str(scale * i) for i in range(1, many + 1))


BOMBS = {
    "anchors": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nstem: *c\n",
    "merge": "a: &a {stem: 8}\n<<: *a\n",
    "deep": "stem: " + "[" * 10_000,
    "deep block": "".join(" " * i + "a:\n" for i in range(200)),
    "a million stages": "stem: 8\nwidth_multiplier: 1\nstages: [" + f"{STAGE}," * 1_000_000 + "]",
    "stages that fit the size": f"stem: 8\nwidth_multiplier: 1\nstages: [{f'{STAGE},' * 780}]",
    "a long number": "stem: " + "9" * 30_000,
    "a binary number": "stem: 0b" + "1" * 30_000,
    "sexagesimal": "stem: " + "59:" * 9_000 + "59",
    "python": "stem: !!python/object/apply:os.system ['touch harmed']",
    "one large stage": "stem: 8\nwidth_multiplier: 1\nstages:\n  - {width: 64, stride: 1, "
    f"repeats: [{numbers(64)}], p: [{numbers(11)}], r: [{numbers(64)}]}}\n",
    "eight large stages": f"stem: 8\nwidth_multiplier: [{numbers(16, 0.125)}]\nstages:\n"
    + "  - {width: 64, stride: 1, repeats: [1, 2, 3, 4], p: [1, 2, 4, 8], "
    f"r: [{numbers(20)}]}}\n" * 8,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    text = BOMBS[name]
    ran = fuzz(tmp_path / "space.yaml", lambda rng: text.encode(), use_space, 1)
    print(name, ran)
    assert not Path("harmed").exists()


def test_a_front_with_a_million_stages_or_deep_nesting(tmp_path: Path) -> None:
    for text in (
        '{"architectures": [{"arch": {"stem": 8, "stages": [' + "{}," * 1_000_000 + "{}]}}]}",
        '{"dataset": ' + '{"a":' * 100_000,
        '{"study": ' + "9" * 100_000 + "}",
    ):
        fuzz(tmp_path / "front.json", lambda rng, text=text: text.encode(), use_front, 1)
