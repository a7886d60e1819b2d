"""A training that is killed at random moments ends like one that is not, with a teacher too."""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.training.teacher import LOGITS, read_teacher

ROOT = Path(__file__).parents[2]
KILLS = 5
EPOCHS = 40
CODE = """
import sys
from pathlib import Path
import torch
from nas.space.arch import Arch, StageArch
from nas.data import load_search_data, load_test_data
from nas.training import get_recipe
from nas.training.full import retrain
from nas.training.teacher import keep_logits, read_teacher

arch = Arch(8, (StageArch(16, 2, 1, "dct", 2, 4), StageArch(32, 2, 2, "dct", 4, 4)))
recipe = get_recipe("full", epochs=int(sys.argv[2]), batch_size=50)
data = load_search_data("digits", Path("unused"))
folder, device = Path(sys.argv[1]), torch.device("cpu")
rest = {"device": device, "threads": 1}
test = lambda: load_test_data("digits", Path("unused"))
print("started", flush=True)
teacher = None
if sys.argv[3] == "teacher":  # it is trained beside, then its logits are kept
    larger = Arch(8, (StageArch(16, 2, 1, "dct", 2, 4), StageArch(48, 2, 2, "dct", 4, 4)))
    retrain(larger, data, test, recipe, 0, folder / "teacher", **rest)
    keep_logits(folder / "teacher", data, device)
    teacher = read_teacher(folder / "teacher")
    recipe = recipe.model_copy(update={"teacher": teacher.network})
retrain(arch, data, test, recipe, 0, folder, teacher=teacher, **rest)
"""


def start(folder: Path, teacher: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder), str(EPOCHS), teacher],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def history(folder: Path) -> list[list[str]]:
    """Epoch, training loss and validation accuracy of each line."""
    with (folder / "history.csv").open() as file:
        return [row[:3] for row in csv.reader(file)]


def metrics(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "metrics.json").read_text())
    return found | {"seconds": None, "teacher_seconds": None}


def logits(folder: Path) -> list[object] | None:
    if not (folder / "teacher").exists():
        return None
    teacher = read_teacher(folder / "teacher")
    assert teacher is not None
    return [teacher.network, teacher.fingerprint, teacher.logits.tolist()]


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["no teacher", "teacher"])
def test_five_kills_at_random_moments_leave_no_trace(tmp_path: Path, teacher: str) -> None:
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    begin = time.monotonic()
    process = start(quiet, teacher)
    assert process.wait() == 0
    whole = time.monotonic() - begin
    rng, kills = random.Random(), 0
    while kills < KILLS:
        process = start(disturbed, teacher)
        try:
            process.wait(rng.uniform(0.02, 0.5) * whole / KILLS)
            break  # it finished before the kill: the machine is too fast
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills == KILLS
    assert start(disturbed, teacher).wait() == 0
    assert [row[0] for row in history(disturbed)[1:]] == [str(e + 1) for e in range(EPOCHS)]
    assert history(disturbed) == history(quiet)
    assert metrics(disturbed) == metrics(quiet)
    for path in quiet.rglob("*.safetensors"):
        other = disturbed / path.relative_to(quiet)
        if path.name != LOGITS:  # it says how long it took
            assert other.read_bytes() == path.read_bytes()
    assert logits(disturbed) == logits(quiet)
