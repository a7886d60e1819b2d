"""The retraining benchmark: its ideas do what they say, and its tables are paired."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.retraining import RATES, jobs, recorded_grids
from benchmarks.retraining_data import FRONT, THREE_NETWORKS, three_networks
from benchmarks.retraining_ideas import (
    BASE,
    IDEAS,
    QUICK_IDEAS,
    AlternatingFlips,
    Idea,
    idea_trainer,
    orthogonal,
)
from benchmarks.retraining_report import idea_rows, length_rows, quick_idea_rows, rate_rows
from nas.data import load_search_data
from nas.data.info import DatasetInfo
from nas.data.splits import Split
from nas.space.arch import Arch, StageArch
from nas.training import build, get_recipe

ARCH = Arch(8, (StageArch(16, 1, 2, "dct", 2, 4),))


def test_each_image_is_mirrored_in_every_second_epoch() -> None:
    images = torch.arange(40, dtype=torch.uint8).repeat_interleave(16).view(40, 1, 4, 4).clone()
    images[..., 0] += 100  # the left column is brighter
    info = DatasetInfo(
        name="digits", image_size=4, in_channels=1, class_names=("a", "b"), crop=0, flip=True,
        mean=(0.0,), std=(1.0,), fingerprint="",
    )  # fmt: skip
    batches = AlternatingFlips(
        *(Split(images, torch.zeros(40, dtype=torch.int64)), info, 10, torch.device("cpu")),
        generator=torch.Generator().manual_seed(0),
    )
    epochs = []
    for _ in range(3):
        mirrored = {}
        for shown, _ in batches:
            for image in (255 * shown[:, 0]).round():
                dark = int(image.min())
                mirrored[dark] = bool(image[0, 3] > image[0, 0])
        epochs.append(mirrored)
    assert epochs[0].keys() == set(range(40))
    assert 8 < sum(epochs[0].values()) < 32
    assert epochs[1] == {image: not was for image, was in epochs[0].items()}
    assert epochs[2] == epochs[0]


@pytest.mark.parametrize(
    ("ideas", "name"),
    [(IDEAS, name) for name, idea in IDEAS.items() if not idea.taught]
    + [(QUICK_IDEAS, name) for name, idea in QUICK_IDEAS.items() if idea not in IDEAS.values()],
)
def test_every_idea_trains(ideas: dict[str, Idea], name: str) -> None:
    data = load_search_data("digits", Path("unused"))
    idea = ideas[name]
    fields = idea.fields | {"epochs": 3, "train_images": 300}
    recipe = get_recipe("full", **fields)
    trainer = idea_trainer(idea, build(ARCH, data.info, 0), data, recipe, 0)
    losses = [trainer.train_epoch() for _ in range(3)]
    assert losses[-1] < losses[0]


def test_the_steps_of_muon_are_about_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((8, 24), (24, 8)):
        singular = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert singular.min() > 0.3
        assert singular.max() < 1.6


def row(part: str, network: str, recipe: str, seed: int, accuracy: float) -> dict[str, Any]:
    return {"part": part, "data": "", "network": network, "recipe": recipe, "seed": seed,
            "accuracy": accuracy, "seconds": 2.0 if recipe == BASE else 3.0}  # fmt: skip


def test_differences_are_paired() -> None:
    """Networks differ by much more than the idea changes."""
    rows = [
        row("ideas", n, BASE, s, a + s / 100) for n, a in (("x", 0.5), ("y", 0.9)) for s in (0, 1)
    ]
    rows += [
        row("ideas", n, "idea", s, a + s / 100 + 0.01)
        for n, a in (("x", 0.5), ("y", 0.9))
        for s in (0, 1)
    ]
    rows += [row("ideas", "z", "idea", 0, 0.1)]  # without a partner
    _, line = idea_rows(rows)
    assert line == ["idea", "4", "+1.00 ± 0.00", "1.50"]


def test_short_runs_stand_over_whole_trainings() -> None:
    assert [job for job in jobs(["rates"], 1) if job.network not in recorded_grids()] == []
    (name, grid), *_ = recorded_grids().items()
    rows = [
        row("rates", name, f"{rate:g}", seed, 0.8 + seed / 10) for rate in RATES for seed in (0, 1)
    ]
    _, short, whole = rate_rows(rows)
    assert short == [name, "short runs, 2 seeds", *["85.0 %"] * len(RATES)]
    shown = dict(zip([f"{rate:g}" for rate in RATES], whole[2:], strict=True))
    assert shown["0.05"] == "–"
    assert {rate: f"{100 * value:.1f} %" for rate, value in grid.items()}.items() <= shown.items()


def test_quick_ideas_are_paired_by_network_and_seed() -> None:
    names = ("DCT, 1.0 M", "pointwise, 1.0 M")
    rows = [row("quick-ideas", n, BASE, s, 0.9 + s / 50) for n in names for s in (0, 1)]
    rows += [row("quick-ideas", names[0], "idea", s, 0.91 + s / 50) for s in (0, 1)]
    rows += [row("quick-ideas", names[1], "idea", 1, 0.91)]
    rows += [row("quick-ideas", names[0], "other", s, 0.92 + s / 50) for s in (0, 1)]
    rows += [row("quick-ideas", names[1], "other", 0, 0.0)]  # diverged
    _, base, idea, other = quick_idea_rows(rows)
    assert base == ["nothing", "2", "91.00 %", "91.00 %", "1.00"]
    assert idea == ["idea", "2", "+1.00", "-1.00", "1.50"]
    assert other == ["other", "2", "+2.00", "–", "1.50"]


def test_lengths_stand_beside_the_earlier_form() -> None:
    assert {job.network for job in jobs(["lengths"], 1)} == three_networks().keys()
    rows = [
        row("lengths", network, "7 epochs", seed, 0.9) | {"test_accuracy": 0.9 + seed / 100}
        for network in three_networks()
        for seed in (0, 1)
    ]
    rows.append(row("lengths", "DCT, 0.4 M", "7 epochs", 2, 0.0))  # diverged
    heading, *networks, mean, fewer = length_rows(rows)
    assert heading[2:] == ["today's, 7 epochs"]
    assert networks[0] == ["DCT, 0.4 M", "90.81 % (1 seed)", "90.50 % (2 seeds)"]
    assert mean == ["**mean**", "**91.35 %**", "**90.50 %**"]
    # Errors of 10 and 9 %, beside those of the same networks by the earlier form.
    then = json.loads(FRONT.with_name("summary.json").read_text())["networks"]
    of_six = [n["test_accuracies"] for n in then if n["name"][-12:] in THREE_NETWORKS.values()]
    logs = [np.mean(np.log(1 - np.array(tests))) for tests in of_six]
    expected = 100 * (1 - np.exp(np.mean(np.log([0.1, 0.09])) - np.mean(logs)))
    share, low, high = map(float, re.findall(r"-?\d+\.\d", fewer[2]))
    assert share == pytest.approx(expected, abs=0.051)
    assert low < share < high < 0
