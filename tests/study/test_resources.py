"""What fits on the nodes of a cluster, and what a search decides from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.space.arch import table2_arch
from nas.study.plan import make_plan
from nas.study.request import Request
from nas.study.resources import ClusterResources, Node
from nas.training import get_recipe
from nas.training.memory import training_bytes

ROOT = Path(__file__).parents[2]


def cluster(*nodes: tuple[float, float]) -> ClusterResources:
    return ClusterResources(tuple(Node(*node) for node in nodes), 4)


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "fitting"),
    [
        ([(2, 0)], 1, 0, 2),
        ([(1, 0)], 0.1, 0, 10),  # 1 // 0.1 is 9
        ([(16, 1)], 1, 0.2, 5),
        ([(16, 4)], 1, 0.3, 12),  # three on each GPU, whatever is left over
        ([(16, 4)], 1, 2, 2),
        ([(2, 4)], 1, 0.25, 2),
        ([(3, 0), (3, 0)], 2, 0, 2),  # no trial is divided among nodes
        ([(8, 1), (8, 1)], 1, 2, 0),
        ([(4, 0), (2, 1)], 1, 0.25, 2),  # the CPUs of the first node are of no use
        ([], 1, 0, 0),
    ],
)
def test_what_fits(
    nodes: list[tuple[float, float]], cpus: float, gpus: float, fitting: int
) -> None:
    assert cluster(*nodes).fitting(cpus, gpus) == fitting


@pytest.mark.parametrize("trials", [1, 2, 3, 5, 8, 17])
@pytest.mark.parametrize(
    "nodes", [[(2, 0)], [(4, 1)], [(4, 0), (2, 0)], [(8, 4)], [(8, 2), (8, 3), (16, 0)]]
)
def test_equal_shares_fit_and_larger_ones_would_not(
    nodes: list[tuple[float, float]], trials: int
) -> None:
    there = cluster(*nodes)
    cpus, gpus = there.share(trials)
    assert there.fitting(cpus, gpus) >= trials
    assert there.fitting(cpus + 0.001, gpus) < trials
    assert (gpus > 0) == (there.gpus > 0)
    assert gpus <= 1 or gpus == int(gpus)


def request(folder: Path, **more: object) -> Request:
    return Request(
        budget=3, space=ROOT / "search_spaces/tiny.yaml", results=folder / "results",
        data_dir=folder, **more,
    )  # fmt: skip


def test_recipe_and_concurrency_follow_from_the_cluster(tmp_path: Path) -> None:
    """Not from the machine where the search is started, which has no GPU here."""
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for shade in range(20):
            pixels = np.full((8, 8, 3), shade, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{shade}.png")
    dataset = f"folder:{tmp_path / 'images'}"
    gpus = cluster((16, 2), (16, 1))
    plan = make_plan(request(tmp_path, dataset=dataset), gpus)
    assert plan.config.recipe.name == "short-gpu"
    assert (plan.gpus_per_trial, plan.concurrency) == (0.25, 12)
    plan = make_plan(request(tmp_path, dataset=dataset), cluster((16, 0)))
    assert plan.config.recipe.name == "short-cpu-subset"
    assert (plan.gpus_per_trial, plan.concurrency) == (0, 16)
    asked = request(tmp_path, dataset=dataset, gpus_per_trial=0.0, concurrency=3)
    plan = make_plan(asked, gpus)
    assert plan.config.recipe.name == "short-cpu-subset"
    assert (plan.gpus_per_trial, plan.concurrency) == (0, 3)


@pytest.mark.parametrize(
    ("more", "names", "accepted"),
    [
        ({"concurrency": 3}, "--concurrency 3", "at most 2 such trials at a time"),
        ({"cpus_per_trial": 4}, "--cpus-per-trial 4", "what one machine has"),
        ({"gpus_per_trial": 1}, "--gpus-per-trial 1", "what one machine has"),
    ],
)
def test_what_does_not_fit_names_the_option(
    tmp_path: Path, more: dict[str, float], names: str, accepted: str
) -> None:
    with pytest.raises(ValueError, match=f"^{names}: a trial needs .*accepted: .*{accepted}"):
        make_plan(request(tmp_path, dataset="digits", **more), cluster((2, 0)))


@pytest.mark.parametrize(
    ("memory", "share"), [(None, 1 / 4), (80e9, 1 / 4), (40e9, 1 / 2), (1e9, 1.0)]
)
def test_trials_share_a_gpu_where_its_memory_holds_them(
    tmp_path: Path, memory: float | None, share: float
) -> None:
    there = ClusterResources((Node(16, 2),), 4, memory)
    wide = ROOT / "search_spaces/dyclotnet.yaml"
    asked = dataclasses.replace(request(tmp_path, dataset="digits", recipe="short-gpu"), space=wide)
    info = make_plan(asked, there).config.dataset
    largest = table2_arch(2.0, 2, 2)
    assert 5e8 < training_bytes(largest, info, get_recipe("short-gpu"), 1000) < 5e9
    asked = dataclasses.replace(asked, image_size=32)
    plan = make_plan(asked, there)
    assert (plan.gpus_per_trial, plan.concurrency) == (share, round(2 / share))
    asked = dataclasses.replace(asked, gpus_per_trial=0.125)
    assert make_plan(asked, there).gpus_per_trial == 0.125  # what is asked for by name


def test_memory_grows_with_the_batch_the_images_and_the_network(tmp_path: Path) -> None:
    info = make_plan(request(tmp_path, dataset="digits"), cluster((2, 0))).config.dataset
    small, large = table2_arch(1.0, 2, 4), table2_arch(2.0, 2, 4)
    recipe = get_recipe("short-gpu")
    fixed = training_bytes(small, info, recipe.model_copy(update={"batch_size": 0}), 0)
    needs = training_bytes(small, info, recipe, 0) - fixed
    twice = training_bytes(small, info, recipe.model_copy(update={"batch_size": 1024}), 0) - fixed
    assert twice == pytest.approx(2 * needs)
    finer = dataclasses.replace(info, image_size=2 * info.image_size)
    assert training_bytes(small, finer, recipe, 0) - fixed == pytest.approx(4 * needs)
    assert training_bytes(large, info, recipe, 0) - fixed == pytest.approx(2 * needs, rel=0.03)
    assert training_bytes(small, info, recipe, 1000) > training_bytes(small, info, recipe, 0)
