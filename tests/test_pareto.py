import itertools

import numpy as np
import pytest

from nas.pareto import HypervolumeTracker, hypervolume, non_dominated


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def boxes(points, reference):
    """Volume by inclusion in the cells of the grid of all coordinates."""
    axes = [sorted({p[m] for p in points} | {r}) for m, r in enumerate(reference)]
    total = 0.0
    for cell in itertools.product(*(list(itertools.pairwise(axis)) for axis in axes)):
        lower, upper = [c[0] for c in cell], [c[1] for c in cell]
        inside = all(u <= r for u, r in zip(upper, reference, strict=True))
        if inside and any(all(x <= y for x, y in zip(p, lower, strict=True)) for p in points):
            total += np.prod(np.subtract(upper, lower))
    return total


def test_non_dominated_on_every_triple_of_a_grid_with_infinities():
    grid = list(itertools.product((0.0, 1.0, np.inf), repeat=2))
    for points in itertools.product(grid, repeat=3):
        kept = non_dominated(points)
        for i, point in enumerate(points):
            beaten = any(dominates(other, point) for other in points)
            repeated = any(tuple(other) == tuple(point) for other in points[:i])
            assert kept[i] == (not beaten and not repeated), points


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_non_dominated_and_hypervolume_agree_with_naive_versions(objectives):
    rng = np.random.default_rng(objectives)
    for count in (1, 2, 5, 9, 9, 9):
        # Few levels, so that ties are common.
        points = rng.integers(0, 5, size=(count, objectives)) / 4.0
        points[rng.random(points.shape) < 0.1] = np.inf
        reference = np.full(objectives, 0.9)
        kept = non_dominated(points)
        assert all(
            kept[i]
            == (not any(dominates(q, p) for q in points) and not (points[:i] == p).all(1).any())
            for i, p in enumerate(points)
        )
        assert hypervolume(points, reference) == pytest.approx(boxes(points.tolist(), reference))


def test_hypervolume_on_every_pair_of_a_grid():
    grid = list(itertools.product((0.0, 0.5, 1.0, 2.0), repeat=2))
    for pair in itertools.product(grid, repeat=2):
        assert hypervolume(pair, (1.5, 1.0)) == pytest.approx(boxes(pair, (1.5, 1.0)))


def test_two_and_three_objectives_agree():
    points = np.random.default_rng(0).random((30, 2))
    flat = np.column_stack([points, np.zeros(30)])
    assert hypervolume(flat, (1, 1, 1)) == pytest.approx(hypervolume(points, (1, 1)))


def test_a_growing_set_has_the_hypervolume_of_the_whole():
    points = np.random.default_rng(1).random((40, 2))
    tracker = HypervolumeTracker((0.9, 0.8))
    for count, point in enumerate(points, 1):
        grown = tracker.add(tuple(point))
        assert grown == pytest.approx(hypervolume(points[:count], (0.9, 0.8)))


def test_nothing_inside_the_reference_has_no_volume():
    assert hypervolume([(1.0, 0.5)], (1.0, 1.0)) == 0.0
    assert hypervolume(np.empty((0, 2)), (1.0, 1.0)) == 0.0
