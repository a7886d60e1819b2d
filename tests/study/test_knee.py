"""The knee of a front: the member at the end of the last steep step."""

import itertools
import math

import numpy as np
import pytest

from nas.study.knee import MIN_MEMBERS, knee_index


@pytest.mark.parametrize("members", range(MIN_MEMBERS))
def test_a_front_of_fewer_than_five_has_no_knee(members: int) -> None:
    """Two members tie exactly: each is the best in one objective and the worst in the other."""
    costs = [100.0 * 2**i for i in range(members)]
    assert knee_index(costs, [0.5 + 0.1 * i for i in range(members)]) is None


def test_a_steep_step_is_taken() -> None:
    """12.5 points for an eighth more multiply-adds, where an octave brings some 13 points."""
    costs = [157e3, 221e3, 402e3, 452e3, 900e3, 1.8e6]
    accuracies = [0.35, 0.50, 0.6667, 0.7917, 0.8333, 0.875]
    assert costs[knee_index(costs, accuracies) or 0] == 452e3


def test_it_stands_where_a_saturating_front_grows_as_on_average() -> None:
    """1 - exp(-x) over 0 to b has the slope (1 - exp(-b)) / b at log(b / (1 - exp(-b)))."""
    x = np.linspace(0, 5, 201)
    expected = math.log(5 / (1 - math.exp(-5)))
    index = knee_index(list(np.exp(x)), list(1 - np.exp(-x)))
    assert index is not None
    assert x[index] == pytest.approx(expected, abs=0.025)


def slopes_of_hull(x: np.ndarray, y: np.ndarray) -> tuple[list[int], list[float]]:
    """The vertices of the upper concave hull and the slopes between them, naively."""
    vertices = [0]
    while vertices[-1] < len(x) - 1:
        here = vertices[-1]
        rest = range(here + 1, len(x))
        vertices.append(max(rest, key=lambda j: ((y[j] - y[here]) / (x[j] - x[here]), j)))
    slopes = [(y[b] - y[a]) / (x[b] - x[a]) for a, b in itertools.pairwise(vertices)]
    return vertices, slopes


@pytest.mark.parametrize("seed", range(50))
def test_it_is_the_end_of_the_last_steep_step_of_the_hull(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(MIN_MEMBERS, 30))
    x, y = np.sort(rng.uniform(0, 8, count)), np.sort(rng.uniform(0.3, 0.95, count))
    vertices, slopes = slopes_of_hull(x, y)
    mean = (y[-1] - y[0]) / (x[-1] - x[0])
    last = max(i for i, slope in enumerate(slopes) if slope >= mean - 1e-12)
    assert knee_index(list(np.exp(x)), list(y)) == vertices[last + 1]


def test_members_that_others_dominate_do_not_count() -> None:
    costs, accuracies = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], [0.3, 0.6, 0.8, 0.85, 0.88, 0.9]
    index = knee_index(costs, accuracies)
    assert index is not None
    more = knee_index([*costs, 64.0, 0.99], [*accuracies, 0.89, 0.1])
    assert (more, index) == (2, 2)
    assert knee_index([*costs, 64.0], [*accuracies, 0.2]) == index


def test_equal_costs_or_accuracies_are_no_error() -> None:
    assert knee_index([5.0] * 5, [0.1, 0.2, 0.5, 0.3, 0.4]) == 2
    assert knee_index([1.0, 2.0, 3.0, 4.0, 5.0], [0.5] * 5) == 0


def test_of_a_straight_line_it_is_the_end() -> None:
    """Every step is as steep as the whole."""
    assert knee_index([2.0**i for i in range(7)], [0.1 * i for i in range(7)]) == 6
