"""What fits on the nodes of a cluster, and what a search decides from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.study.plan import Request, make_plan
from nas.study.resources import ClusterResources, Node

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
