import numpy as np
import pytest
import torch

from nas.pareto import hypervolume
from nas.samplers.ehvi import box_decomposition, expected_improvement

REFERENCE = {1: (1.0, 0.9), 2: (1.0, 0.95, 0.9)}


def front(costs, seed=0, count=8):
    rng = np.random.default_rng(seed)
    return rng.random((count, costs)), rng.uniform(0.1, 1.0, count)


def monte_carlo(costs, errors, reference, cost, draws):
    """Mean growth of the hypervolume over draws of the candidate's error."""
    points = np.column_stack([costs, errors])
    before = hypervolume(points, reference)
    grown = [hypervolume(np.vstack([points, [*cost, y]]), reference) - before for y in draws]
    return np.mean(grown), np.std(grown) / np.sqrt(len(grown))


@pytest.mark.parametrize("floor", [-0.05, 0.0])
@pytest.mark.parametrize("objectives", [1, 2])
def test_agrees_with_monte_carlo(objectives, floor):
    costs, errors = front(objectives)
    reference = REFERENCE[objectives]
    rng = np.random.default_rng(5)
    for mean, deviation in ((0.3, 0.2), (0.6, 0.5)):
        cost = rng.random(objectives)
        m = np.log(mean - floor)
        draws = rng.normal(m, deviation, 4000 if objectives == 1 else 1500)
        draws = np.exp(draws) + floor
        expected, uncertain = monte_carlo(costs, errors, reference, cost, draws)
        boxes = box_decomposition(costs, errors, reference)
        value = expected_improvement(boxes, [cost], [m], [deviation], floor=floor)
        assert value[0] == pytest.approx(expected, abs=4 * uncertain + 1e-5)


def test_agrees_with_botorch_whose_cost_objective_has_almost_no_variance():
    """BoTorch's error is normal, which a log-normal with a very low floor approaches."""
    from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
    from botorch.models.deterministic import GenericDeterministicModel
    from botorch.posteriors import GPyTorchPosterior
    from botorch.utils.multi_objective.box_decompositions import NondominatedPartitioning
    from gpytorch.distributions import MultitaskMultivariateNormal

    costs, errors = front(1)
    reference = torch.tensor(REFERENCE[1], dtype=torch.float64)
    points = torch.from_numpy(np.column_stack([costs, errors]))
    candidates = np.column_stack([np.linspace(0.02, 0.98, 25), np.linspace(0.9, 0.1, 25)])
    deviation = 0.15

    class Known(GenericDeterministicModel):
        def posterior(self, X, *args, **kwargs):
            variance = torch.tensor([1e-16, deviation**2], dtype=torch.float64)
            covariance = torch.diag(variance).expand(*X.shape[:-2], 2, 2)
            return GPyTorchPosterior(MultitaskMultivariateNormal(-X, covariance))

    theirs = ExpectedHypervolumeImprovement(
        Known(lambda X: X, num_outputs=2),
        (-reference).tolist(),
        NondominatedPartitioning(-reference, Y=-points),
    )(torch.from_numpy(candidates)[:, None])
    boxes, depth = box_decomposition(costs, errors, REFERENCE[1]), 1e6  # of the floor
    ours = [
        expected_improvement(
            boxes, [[cost]], [np.log(depth)], [deviation / depth], floor=mean - depth
        )[0]
        for cost, mean in candidates
    ]
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-8)


def test_a_certain_error_improves_by_exactly_the_growth_of_the_hypervolume():
    for objectives in (1, 2):
        costs, errors = front(objectives, seed=objectives)
        reference = REFERENCE[objectives]
        boxes = box_decomposition(costs, errors, reference)
        for cost in np.random.default_rng(1).random((20, objectives)):
            growth, _ = monte_carlo(costs, errors, reference, cost, [0.25])
            value = expected_improvement(boxes, [cost], [np.log(0.25)], [1e-12])
            assert value[0] == pytest.approx(growth, abs=1e-9)


def test_a_candidate_does_not_depend_on_the_others(monkeypatch):
    costs, errors = front(2)
    boxes = box_decomposition(costs, errors, REFERENCE[2])
    rng = np.random.default_rng(7)
    many = (rng.random((50, 2)), rng.normal(-1, 1, 50), rng.random(50))
    at_once = expected_improvement(boxes, *many)
    for block in (1, 3 * len(boxes.height)):  # the second takes three candidates at a time
        monkeypatch.setattr("nas.samplers.ehvi.BLOCK", block)
        assert expected_improvement(boxes, *many).tolist() == at_once.tolist()
    assert (at_once > 0).any()
    assert expected_improvement(boxes, np.zeros((0, 2)), [], []).tolist() == []


def test_an_empty_front_is_the_reference_box():
    value = expected_improvement(
        box_decomposition(np.empty((0, 1)), [], (1.0, 1.0)), [[0.25]], [np.log(0.5)], [0]
    )
    assert value[0] == pytest.approx(0.75 * 0.5)


def test_more_uncertainty_about_the_same_mean_error_never_expects_less():
    costs, errors = front(1)
    boxes = box_decomposition(costs, errors, REFERENCE[1])
    deviations = np.linspace(0.4, 1, 30)
    means = np.log(0.7) - deviations**2 / 2
    values = expected_improvement(boxes, np.full((30, 1), 0.4), means, deviations)
    assert (np.diff(values) > 0).all()


def test_nothing_is_expected_beyond_the_largest_cost():
    costs, errors = front(1)
    assert (
        expected_improvement(
            box_decomposition(costs, errors, REFERENCE[1]), [[1.5]], [-9.0], [1.0]
        )[0]
        == 0
    )
