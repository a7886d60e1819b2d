"""`predict`: classes and probabilities of images, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import load_search_data, load_test_data
from nas.space.arch import Arch
from nas.training import get_recipe
from nas.training.full import retrain


@pytest.fixture
def model(tiny_arch: Arch, tmp_path: Path) -> str:
    recipe = get_recipe("full", epochs=1, batch_size=200)
    digits, device = load_search_data("digits", tmp_path), torch.device("cpu")
    retrain(
        tiny_arch,
        digits,
        lambda: load_test_data("digits", tmp_path),
        recipe,
        0,
        tmp_path / "model",
        device=device,
    )
    for name in ("one.png", "two.png"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return str(tmp_path / "model")


def test_the_same_probabilities_for_people_and_programs(
    run_runner: Callable[..., Any], model: str
) -> None:
    ran = run_runner("predict", model, "one.png", "two.png", "--json")
    assert ran.code == 0, ran.err
    predictions = json.loads(ran.out)
    assert [one["image"] for one in predictions] == ["one.png", "two.png"]
    lines = run_runner("predict", model, "one.png", "two.png", "--top", "2").out.splitlines()
    for line, one in zip(lines, predictions, strict=True):
        shares = one["probabilities"]
        assert len(shares) == 10
        assert sum(shares.values()) == pytest.approx(1)
        first, second = list(shares.items())[:2]
        assert first[1] >= second[1] == sorted(shares.values())[-2]
        told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in (first, second))
        assert line == f"{one['image']}: {told}"


def test_an_image_that_cannot_be_read_is_named(run_runner: Callable[..., Any], model: str) -> None:
    Path("text.png").write_text("no image")
    ran = run_runner("predict", model, "one.png", "text.png")
    assert (ran.code, ran.out) == (2, "")
    assert "text.png" in ran.err.splitlines()[-1]


def test_a_device_needs_no_image(run_runner: Callable[..., Any], model: str) -> None:
    ran = run_runner("predict", model, "--device", "rp2040")
    assert ran.code == 0, ran.err
    first, *layers = ran.out.splitlines()
    assert first.startswith("fits RP2040")
    assert sum("peak: " in line for line in layers) == 1
    assert run_runner("predict", model, "--device", "z80").code == 2
    none = run_runner("predict", model)
    assert none.code == 2
    assert "--device NAME" in none.err
