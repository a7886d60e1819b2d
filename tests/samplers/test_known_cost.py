"""The known-cost sampler: what it suggests, and that it goes on as before."""

import itertools
import logging
import pickle

import numpy as np
import pytest
from small_space import (
    CHOICES,
    accuracy,
    key,
    macs,
    new_study,
    search,
    search_and_stop,
    stop_early,
    suggest,
)
from threadpoolctl import threadpool_info

from nas.pareto import HypervolumeTracker
from nas.samplers import KnownCostSampler, SpaceExhausted
from nas.samplers.acquisition import EnsembleEHVI
from nas.samplers.error_model import ErrorModel
from nas.samplers.gaussian_process import FitError
from nas.samplers.history import read
from nas.space.space import Choice
from nas.threads import blas_threads

SIZE = 5 * (3 + 1) * 4


@pytest.mark.slow
def test_every_setting_once_then_exhausted():
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    settings = search(sampler, SIZE, study=study)
    assert len({key(setting) for setting in settings}) == SIZE
    with pytest.raises(SpaceExhausted, match=f"was tried \\({SIZE}\\)"):
        suggest(study.ask())


def test_settings_of_one_architecture_count_once_until_the_space_is_exhausted():
    choices = (Choice("a", (1, 2, 3)), Choice("b", (1, 2, 3)))

    def product_of(setting):
        return setting["a"] * setting["b"]

    def cost(setting):
        return (float(product_of(setting)),)

    sampler = KnownCostSampler(choices, cost, identity=product_of)
    study = new_study(sampler)
    settings = search(sampler, 6, choices, lambda s: 0.5 + 0.01 * s["a"], cost, study)
    assert sorted(product_of(setting) for setting in settings) == [1, 2, 3, 4, 6, 9]
    with pytest.raises(SpaceExhausted, match="every architecture"):
        suggest(study.ask(), choices)


@pytest.mark.slow
def test_no_duplicate_among_200_suggestions_and_better_than_random():
    choices = tuple(Choice(f"x{i}", (1, 2, 3, 4)) for i in range(5))

    def cost(setting):
        return (float(sum(4**i * setting[f"x{i}"] for i in range(3)) + 10),)

    def value(setting):
        return 1 - 0.3 * np.exp(-0.2 * sum(setting.values())) - 0.05 * (setting["x4"] == 2)

    sampler = KnownCostSampler(choices, cost, seed=1)
    settings = search(sampler, 200, choices, value, cost)
    assert len({key(setting) for setting in settings}) == 200
    rng = np.random.default_rng(0)
    drawn = [{c.name: int(rng.choice(c.values)) for c in choices} for _ in range(200)]
    found, at_random = (
        [front.add((*cost(s), 1 - value(s))) for s in some][-1]
        for some, front in (
            (tried, HypervolumeTracker((100.0, 0.2))) for tried in (settings[:50], drawn)
        )
    )
    assert found > at_random  # with a quarter of the trials


def test_starts_with_the_cheapest_and_the_most_expensive_feasible_setting():
    limit = 60_000.0
    settings = search(KnownCostSampler(CHOICES, macs, feasible=lambda s: macs(s)[0] <= limit), 12)
    all_costs = [
        macs(s)[0]
        for w, d in itertools.product((1, 2, 3, 4, 6), (1, 2, 3, 4))
        for s in [{"width": w, "depth": d, "kind": "pointwise"}]
        + [{"width": w, "depth": d, "kind": "dct", "r": r} for r in (2, 4, 8)]
    ]
    inside = [cost for cost in all_costs if cost <= limit]
    costs = [macs(setting)[0] for setting in settings]
    assert costs[0] == min(inside)
    assert costs[1] == max(inside)
    assert max(costs) <= limit


def test_settings_that_are_not_feasible_are_left_out():
    sampler = KnownCostSampler(CHOICES, macs, feasible=lambda s: s["kind"] == "dct")
    assert all(setting["kind"] == "dct" for setting in search(sampler, 18))


def test_a_space_without_a_feasible_setting_is_exhausted():
    with pytest.raises(SpaceExhausted):
        search(KnownCostSampler(CHOICES, macs, feasible=lambda s: False), 1)


def test_the_same_seed_and_contents_give_the_same_suggestions():
    first = search(KnownCostSampler(CHOICES, macs, seed=3), 16)
    assert first == search(KnownCostSampler(CHOICES, macs, seed=3), 16)
    assert first[:10] != search(KnownCostSampler(CHOICES, macs, seed=4), 10)


def blas():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def test_an_ask_uses_one_blas_thread_and_restores_the_number_before():
    seen = set()

    def cost(setting):
        seen.update(blas())
        return macs(setting)

    with blas_threads(2):
        search(KnownCostSampler(CHOICES, cost), 12)
        assert blas() == {2}
    assert seen == {1}


@pytest.fixture
def fitted_seldom(monkeypatch):
    """Hyperparameters are fitted on 4, 6, 9, 13, 19, 28 trials: some asks do not refit."""
    monkeypatch.setattr("nas.samplers.error_model.GROWTH", 1.5)


@pytest.mark.usefixtures("fitted_seldom")
@pytest.mark.parametrize("images", [None, 400])
def test_a_study_continued_by_a_new_sampler_goes_on_as_before(images):
    whole = search(KnownCostSampler(CHOICES, macs, seed=3, images=images), 18)
    study = new_study(KnownCostSampler(CHOICES, macs, seed=3, images=images))
    begun = search(None, 14, study=study)
    study.sampler = KnownCostSampler(CHOICES, macs, seed=3, images=images)
    assert begun + search(None, 4, study=study) == whole


@pytest.mark.usefixtures("fitted_seldom")
@pytest.mark.parametrize("images", [None, 400])
def test_a_continued_study_with_stopped_trials_goes_on_as_before(images):
    first = KnownCostSampler(CHOICES, macs, seed=3, images=images)
    whole = search_and_stop(new_study(first), range(24))
    study = new_study(KnownCostSampler(CHOICES, macs, seed=3, images=images))
    begun = search_and_stop(study, range(17))
    study.sampler = KnownCostSampler(CHOICES, macs, seed=3, images=images)
    assert begun + search_and_stop(study, range(17, 24)) == whole


def test_hyperparameters_are_fitted_on_stopped_trials_too():
    study = new_study(KnownCostSampler(CHOICES, macs))
    search_and_stop(study, range(10))
    candidates = study.sampler._draw_candidates(0)
    model = ErrorModel(candidates, seed=0)
    before = model.condition(read(study, -1, candidates, 0, {})).transforms
    search_and_stop(study, (10, 11, 13, 14, 16, 17))  # all of them are stopped
    after = model.condition(read(study, -1, candidates, 0, {})).transforms
    again = ErrorModel(candidates, seed=0).condition(read(study, -1, candidates, 0, {}))
    assert before[0] != after[0]  # the MAP sample, which no draw changes
    assert after == again.transforms


@pytest.mark.parametrize("images", [None, 400])
def test_where_errors_are_exact_the_front_is_what_was_measured(images):
    rng = np.random.default_rng(0)

    def noisy(setting):
        return accuracy(setting) + 0.02 * rng.standard_normal()

    study = new_study(KnownCostSampler(CHOICES, macs, images=images))
    search(None, 14, value=noisy, study=study)
    candidates = study.sampler._draw_candidates(0)
    model, history = ErrorModel(candidates, 0, images), read(study, -1, candidates, 0, {})
    acquisition = EnsembleEHVI(model, model.condition(history), history, candidates)
    measured = {round(1 - trial.values[0], 9) for trial in study.best_trials}
    for boxes in acquisition._boxes:
        heights = {round(height, 9) for height in boxes.height[1:]}  # the first is the reference
        assert heights
        assert heights <= measured if images is None else heights.isdisjoint(measured)


def test_where_trials_are_stopped_the_front_has_the_measured_errors():
    """A trial that does not beat them would be stopped, however good its network is."""
    study = new_study(KnownCostSampler(CHOICES, macs, images=100))
    search(None, 12, study=study)
    overrated = suggest(trial := study.ask())
    study.tell(trial, [0.99, *macs(overrated)])
    candidates = study.sampler._draw_candidates(0)
    model = ErrorModel(candidates, seed=0, images=100)

    def height():
        """Of the front at the cost of the overrated trial, under the MAP sample."""
        history = read(study, -1, candidates, 0, {})
        boxes = EnsembleEHVI(model, model.condition(history), history, candidates)._boxes[0]
        at = np.log10(macs(overrated)[0])
        return boxes.height[(boxes.low[:, 0] <= at) & (at < boxes.high[:, 0])].max()

    assert height() > 0.02
    stop_early(trial := study.ask(), suggest(trial))
    assert height() == pytest.approx(0.01)


@pytest.mark.parametrize("value", [0.5, 1.0, 0.0])
def test_constant_accuracies_do_not_stop_the_search(value):
    settings = search(KnownCostSampler(CHOICES, macs), 13, value=lambda setting: value)
    assert len({key(setting) for setting in settings}) == 13


def test_a_failed_fit_is_logged_and_the_search_goes_on(monkeypatch, caplog):
    def fail(*_):
        raise FitError("no hyperparameters with a finite likelihood")

    monkeypatch.setattr("nas.samplers.error_model.fit", fail)
    with caplog.at_level(logging.WARNING):
        settings = search(KnownCostSampler(CHOICES, macs), 14)
    assert len({key(setting) for setting in settings}) == 14
    assert "finite likelihood" in caplog.text


def test_values_that_are_not_finite_are_ignored():
    def value(setting):
        return np.inf if setting["width"] == 2 else accuracy(setting)

    assert len(search(KnownCostSampler(CHOICES, macs), 15, value=value)) == 15


def test_two_known_costs_in_any_position():
    def costs(setting):
        return macs(setting)[0], 10.0 * setting["width"] ** 2

    sampler = KnownCostSampler(CHOICES, costs, objective=1)
    study = new_study(sampler, ("minimize", "maximize", "minimize"))
    seen = set()
    for _ in range(14):
        trial = study.ask()
        setting = suggest(trial)
        seen.add(key(setting))
        known = costs(setting)
        study.tell(trial, [known[0], accuracy(setting), known[1]])
    assert len(seen) == 14


def test_a_pickled_sampler_suggests_the_same():
    sampler = KnownCostSampler(CHOICES, macs, seed=3)
    study = new_study(sampler)
    search(sampler, 12, study=study)
    other = pickle.loads(pickle.dumps(sampler))
    trial = study._storage.get_trial(study.ask()._trial_id)
    space = sampler.infer_relative_search_space(study, trial)
    suggested = [one.sample_relative(study, trial, space) for one in (sampler, other)]
    assert suggested[0] == suggested[1] != {}


def test_works_with_optuna_optimize():
    def objective(trial):
        setting = suggest(trial)
        return accuracy(setting), macs(setting)[0]

    study = new_study(KnownCostSampler(CHOICES, macs))
    study.optimize(objective, n_trials=15)
    assert len({key(trial.params) for trial in study.trials}) == 15


def test_a_model_that_knows_the_number_of_images_predicts_better():
    images, choices = 400, (Choice("width", tuple(range(1, 13))), Choice("kind", tuple("abcd")))

    def cost(setting):
        return (1000.0 * setting["width"],)

    def true(setting):
        return 0.02 + 0.2 * setting["width"] ** (-1.0 - 0.2 * "abcd".index(setting["kind"]))

    distances = {None: 0.0, images: 0.0}
    for seed, known in itertools.product(range(4), distances):
        rng = np.random.default_rng(seed)
        study = new_study(sampler := KnownCostSampler(choices, cost))
        candidates = sampler._draw_candidates(0)
        settings = [candidates.encoding.decode(code) for code in candidates.codes]
        for row in rng.choice(len(settings), 30, replace=False):
            study.enqueue_trial(settings[row])
            accuracy = 1 - rng.binomial(images, true(settings[row])) / images
            search(sampler, 1, choices, lambda _, value=accuracy: value, cost, study)
        history = read(study, -1, candidates, 0, {})
        posteriors = ErrorModel(candidates, seed, known).condition(history)
        predicted = posteriors.transforms[0].errors(posteriors.predict_pool()[0])
        truth = np.array([true(setting) for setting in settings])
        distances[known] += np.square(np.log(predicted / truth)).mean()
    assert distances[images] < 0.8 * distances[None]
