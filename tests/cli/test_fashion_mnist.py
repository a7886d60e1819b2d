"""The main job on real images: search Fashion-MNIST, retrain the knee, load it again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas
from nas.data import Batches, load_test_data
from nas.data.fashion_mnist import find
from nas.training.pretrained import read_description

ROOT = Path(__file__).parent.parent.parent


def run(folder: Path, runner: str, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "runners" / runner), *arguments]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
@pytest.mark.skipif(find(Path("data"), train=True) is None, reason="Fashion-MNIST is not here")
def test_search_retrain_and_load_again(tmp_path: Path) -> None:
    space = str(ROOT / "search_spaces/dyclotnet.yaml")
    name = "dyclotnet-fashion-mnist"
    run(tmp_path, "search.py", "--dataset", "fashion-mnist", "--budget", "20", "--space", space)
    front = tmp_path / "results" / name / "front.json"
    run(tmp_path, "retrain.py", str(front), "--epochs", "3")
    (folder,) = (
        path.parent for path in (tmp_path / "results" / name).glob("retrained/*/metrics.json")
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test_accuracy"] > 0.8
    assert metrics["epochs"] == 3

    first, second = nas.load_pretrained(folder), nas.load_pretrained(folder)
    info = read_description(folder).dataset_info()
    test = load_test_data("fashion-mnist", tmp_path / "data")
    right = 0
    with torch.inference_mode():
        for images, labels in Batches(test, info, 500, torch.device("cpu")):
            logits = first(images)
            assert torch.equal(logits, second(images))
            right += int((logits.argmax(1) == labels).sum())
    assert right / len(test) == pytest.approx(metrics["test_accuracy"], abs=2e-4)
