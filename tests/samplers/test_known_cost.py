import itertools
import logging
import pickle
import re
from pathlib import Path

import numpy as np
import optuna
import pytest
from threadpoolctl import threadpool_info

import nas
from benchmarks.synthetic import SyntheticProblem
from nas.pareto import HypervolumeTracker, hypervolume
from nas.samplers import KnownCostSampler, SpaceExhausted
from nas.samplers.acquisition import EnsembleEHVI
from nas.samplers.candidates import BINS, POOL, Candidates
from nas.samplers.encoding import Encoding
from nas.samplers.error_model import ErrorModel
from nas.samplers.gaussian_process import FitError
from nas.samplers.history import read
from nas.space.cost import cost
from nas.space.limits import extreme
from nas.space.space import Choice, SearchSpace
from nas.threads import blas_threads

optuna.logging.set_verbosity(optuna.logging.WARNING)

CHOICES = (
    Choice("width", (1, 2, 3, 4, 6)),
    Choice("kind", ("dct", "pointwise")),
    Choice("r", (2, 4, 8), ("kind", "dct")),
    Choice("depth", (1, 2, 3, 4)),
    Choice("fixed", (7,)),
)


def macs(setting):
    per_block = 10 if setting["kind"] == "pointwise" else 4 + 8 / setting["r"]
    return (1000.0 * setting["width"] * setting["depth"] * per_block,)


def accuracy(setting):
    gain = 0.1 * np.log(setting["width"]) + 0.08 * np.log(setting["depth"])
    gain += 0.05 * (setting["kind"] == "dct") + 0.02 * (setting.get("r") == 4)
    return 0.6 + gain


def suggest(trial, choices=CHOICES):
    return nas.suggest(trial, choices)


def new_study(sampler, directions=("maximize", "minimize")):
    return optuna.create_study(sampler=sampler, directions=list(directions))


def stop_early(trial, setting):
    """Tell a study what a stopped trial showed after one epoch of two."""
    trial.set_user_attr("curve", [[1, accuracy(setting) - 0.1]])
    trial.study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def finish(trial, setting):
    trial.set_user_attr("curve", [[1, accuracy(setting) - 0.1], [2, accuracy(setting)]])
    trial.study.tell(trial, [accuracy(setting), *macs(setting)])


def search_and_stop(study, numbers):
    """Two of three trials are stopped early once ten have finished."""
    settings = []
    for number in numbers:
        trial = study.ask()
        settings.append(suggest(trial))
        (stop_early if number >= 10 and number % 3 else finish)(trial, settings[-1])
    return settings


def search(sampler, trials, choices=CHOICES, value=accuracy, cost=macs, study=None):
    study = study or new_study(sampler)
    settings = []
    for _ in range(trials):
        trial = study.ask()
        setting = suggest(trial, choices)
        settings.append(setting)
        study.tell(trial, [value(setting), *cost(setting)])
    return settings


def key(setting):
    return tuple(sorted(setting.items()))


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


@pytest.mark.parametrize("finished", [0, 2, 12])
def test_sixteen_pending_trials_are_different_and_spread(finished):
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    search(sampler, finished, study=study)
    asked = [suggest(study.ask()) for _ in range(16)]
    assert len({key(setting) for setting in asked}) == 16
    costs = np.log10([macs(setting)[0] for setting in asked])
    assert costs.max() - costs.min() > 0.5
    assert len({(s["width"], s["depth"]) for s in asked}) >= 6


def test_pending_trials_change_what_is_suggested():
    """The next suggestion complements the trials that are running."""
    alone = new_study(KnownCostSampler(CHOICES, macs))
    search(None, 12, study=alone)
    first = suggest(alone.ask())
    second = suggest(alone.ask())
    assert key(first) != key(second)


@pytest.mark.parametrize("space", ["small", "large"])
def test_a_batch_begins_with_the_single_suggestion_and_is_as_spread_as_pending_ones(
    space, full_space
):
    """What is chosen at once resembles what is chosen one after the other, running all."""
    problem = SyntheticProblem(0, full_space)
    choices, cost = (CHOICES, macs) if space == "small" else (
        problem.choices, lambda setting: (problem.macs(setting),))  # fmt: skip
    value = accuracy if space == "small" else lambda setting: 1 - problem.error(setting)

    def asked(batch):
        study = new_study(KnownCostSampler(choices, cost))
        search(None, 14, choices, value, cost, study)
        if batch:
            study.sampler.expect(8)
        settings = [suggest(study.ask(), choices) for _ in range(8)]
        assert len({key(setting) for setting in settings}) == 8
        return settings, np.log10([cost(setting)[0] for setting in settings])

    (single, costs), (batch, of_batch) = asked(False), asked(True)
    assert batch[0] == single[0]
    assert of_batch.std() > 0.5 * costs.std()


def test_a_batch_ends_with_what_was_announced():
    """Results that come later count: nothing is left over from before."""
    study = new_study(KnownCostSampler(CHOICES, macs))
    search(None, 14, study=study)
    study.sampler.expect(3)
    trials = [study.ask() for _ in range(3)]
    for trial in trials:
        study.tell(trial, [accuracy(setting := suggest(trial)), *macs(setting)])
    continued = new_study(KnownCostSampler(CHOICES, macs))
    continued.add_trials(study.trials)
    assert suggest(study.ask()) == suggest(continued.ask())


def test_failed_out_of_memory_and_stopped_trials_are_not_suggested_again():
    study = new_study(KnownCostSampler(CHOICES, macs))
    seen = set()
    for number in range(24):
        trial = study.ask()
        setting = suggest(trial)
        assert key(setting) not in seen
        seen.add(key(setting))
        if number % 3 == 1:
            trial.set_user_attr("reason", "out_of_memory")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif number % 3 == 2:
            stop_early(trial, setting)
        else:
            finish(trial, setting)


def test_a_repeat_of_a_running_trial_does_not_hide_it():
    """The repeat fails first; the result of the trial that it repeats is learned all the same."""
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    trial = study.ask()
    setting = suggest(trial)
    study.enqueue_trial(setting)
    repeat = study.ask()
    assert suggest(repeat) == setting
    repeat.set_user_attr("reason", "repeats_running")
    study.tell(repeat, state=optuna.trial.TrialState.FAIL)
    seen = [read(study, -1, sampler._draw_candidates(0), 0, {})]
    study.tell(trial, [accuracy(setting), *macs(setting)])
    seen.append(read(study, -1, sampler._draw_candidates(0), 0, {}))
    assert [(len(history.pending), len(history.finished)) for history in seen] == [(1, 0), (0, 1)]


def test_an_interrupted_trial_may_be_suggested_again():
    choices = (Choice("x", (1, 2)),)
    study = new_study(KnownCostSampler(choices, lambda s: (float(s["x"]),)))
    trial = study.ask()
    first = suggest(trial, choices)
    trial.set_user_attr("reason", "interrupted")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert first in [suggest(study.ask(), choices) for _ in range(2)]


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


def test_trials_in_several_threads_are_all_different():
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)

    def objective(trial):
        setting = suggest(trial)
        return accuracy(setting), *macs(setting)

    study.optimize(objective, n_trials=40, n_jobs=4)
    tried = [key(trial.params) for trial in study.get_trials()]
    assert len(set(tried)) == len(tried) == 40
    assert not sampler._suggested


def test_what_was_suggested_is_running_before_the_study_has_its_parameters():
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    search(sampler, 10, study=study)
    asked = [study.ask() for _ in range(4)]
    assert len({key(trial.relative_params) for trial in asked}) == 4


def shared_study(folder):
    """The study as another process opens it, with a sampler of its own."""
    return optuna.create_study(
        study_name="shared",
        storage=f"sqlite:///{folder}/study.db",
        directions=["maximize", "minimize"],
        sampler=KnownCostSampler(CHOICES, macs),
        load_if_exists=True,
    )


@pytest.mark.parametrize("before", [0, 10])
def test_processes_that_ask_at_the_same_time_get_different_suggestions(tmp_path, before):
    studies = [shared_study(tmp_path) for _ in range(4)]
    search(studies[0].sampler, before, study=studies[0])
    asked = [study.ask() for study in studies]  # each sees earlier trials without parameters
    # Optuna samples here and stores nothing.
    assert len({key(trial.relative_params) for trial in reversed(asked)}) == 4


def test_a_trial_whose_parameters_are_half_written_is_being_asked_for(tmp_path):
    first, second = shared_study(tmp_path), shared_study(tmp_path)
    search(first.sampler, 10, study=first)
    half, other = first.ask(), second.ask()
    nas.suggest(half, CHOICES[:1])
    assert suggest(other) != suggest(half)


def test_after_a_pool_is_used_up_nothing_is_repeated(monkeypatch):
    monkeypatch.setattr("nas.samplers.candidates.ENUMERABLE", 10)
    monkeypatch.setattr("nas.samplers.candidates.POOL", 20)
    monkeypatch.setattr("nas.samplers.known_cost.START", 50)  # all are of the pool
    choices = tuple(Choice(name, (1, 2, 3, 4)) for name in "abc")

    def total(setting):
        return (float(sum(setting.values())),)

    sampler = KnownCostSampler(choices, total, seed=2)
    settings = search(sampler, 50, choices, value=lambda setting: 0.5, cost=total)
    assert len({key(setting) for setting in settings}) == 50


def test_a_trial_of_other_parameters_does_not_count_as_being_asked_for():
    study = new_study(KnownCostSampler(CHOICES, macs))
    study.ask().suggest_float("learning_rate", 0.0, 1.0)
    candidates = KnownCostSampler(CHOICES, macs)._draw_candidates(0)
    first = study.ask()
    assert read(study, first.number, candidates, 0, {}).asking == []
    second = study.ask()
    assert read(study, study.ask().number, candidates, 0, {}).asking == [
        first.number,
        second.number,
    ]


def test_a_queued_trial_is_running_before_the_study_has_its_parameters():
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    study.enqueue_trial({"width": 3, "kind": "pointwise", "depth": 4})
    study.ask()
    candidates = sampler._draw_candidates(0)
    queued = candidates.encoding.encode({"width": 3, "kind": "pointwise", "depth": 4})
    assert read(study, -1, candidates, 0, {}).pending == [queued]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((), "none; accepted: at least one"),
        ((Choice("a", (1, 2)), Choice("a", (3, 4))), "a occurs twice; accepted: once"),
        ((Choice("a", (1, 1)),), "values (1, 1) of a; accepted: one or more, different"),
        ((Choice("a", ()),), "values () of a; accepted: one or more, different"),
        (
            (Choice("a", (1, 2), ("b", 3)), Choice("b", (3, 4))),
            "a needs 3 of b; accepted: a value of a choice before it",
        ),
        (
            (Choice("b", (3, 4)), Choice("a", (1, 2), ("b", 5))),
            "a needs 5 of b; accepted: a value of a choice before it",
        ),
    ],
)
def test_invalid_choices(choices, message):
    with pytest.raises(ValueError, match=re.escape(f"choices: {message}")):
        KnownCostSampler(choices, macs)


@pytest.mark.parametrize(
    ("costs", "shown"),
    [
        (lambda setting: 5.0, "5.0"),
        (lambda setting: (), "()"),
        (lambda setting: (0.0,), "(0.0,)"),
        (lambda setting: (1.0, -2.0), "(1.0, -2.0)"),
        (lambda setting: (float("nan"),), "(nan,)"),
        (lambda setting: (float("inf"),), "(inf,)"),
        (lambda setting: ("many",), "('many',)"),
    ],
)
def test_invalid_costs(costs, shown):
    choices = (Choice("a", (1, 2)),)
    study = new_study(KnownCostSampler(choices, costs))
    with pytest.raises(ValueError, match=re.escape(f"costs of {{'a': 1}}: {shown}; accepted: a")):
        suggest(study.ask(), choices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "images: 0; accepted: 1 or more, or None"),
        ({"objective": 2}, "objective: 2; accepted: 0 to 1 in this study"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        suggest(new_study(KnownCostSampler(CHOICES, macs, **options)).ask())


def test_a_pickled_sampler_suggests_the_same():
    sampler = KnownCostSampler(CHOICES, macs, seed=3)
    study = new_study(sampler)
    search(sampler, 12, study=study)
    other = pickle.loads(pickle.dumps(sampler))
    trial = study._storage.get_trial(study.ask()._trial_id)
    space = sampler.infer_relative_search_space(study, trial)
    suggested = [one.sample_relative(study, trial, space) for one in (sampler, other)]
    assert suggested[0] == suggested[1] != {}


def test_a_queued_trial_keeps_its_values():
    study = new_study(KnownCostSampler(CHOICES, macs))
    study.enqueue_trial({"width": 3, "kind": "dct", "r": 8, "depth": 2})
    assert suggest(study.ask()) == {"width": 3, "kind": "dct", "r": 8, "depth": 2, "fixed": 7}


def test_works_with_optuna_optimize():
    def objective(trial):
        setting = suggest(trial)
        return accuracy(setting), macs(setting)[0]

    study = new_study(KnownCostSampler(CHOICES, macs))
    study.optimize(objective, n_trials=15)
    assert len({key(trial.params) for trial in study.trials}) == 15


@pytest.fixture(scope="module")
def full_space():
    return SearchSpace.from_yaml(Path(__file__).parents[2] / "search_spaces" / "dyclotnet.yaml")


@pytest.mark.slow
def test_the_full_space_beats_a_large_random_pool(full_space):
    """Smaller errors than the best of 5,000 random ones at their cost, after 60 trials."""
    problem = SyntheticProblem(0, full_space)
    sampler = KnownCostSampler(problem.choices, lambda s: (problem.macs(s),), identity=problem.key)
    study = new_study(sampler)
    points = []
    for _ in range(60):
        trial = study.ask()
        setting = suggest(trial, problem.choices)
        points.append((np.log10(problem.macs(setting)), problem.error(setting)))
        study.tell(trial, [1 - problem.error(setting), problem.macs(setting)])
    rng = np.random.default_rng(0)
    pool = [problem._sample(rng) for _ in range(5000)]
    brute = [(np.log10(problem._cost(a).macs), problem._error(a)) for a in pool]
    assert hypervolume(points, problem.reference) > hypervolume(brute, problem.reference)


def test_samples_keep_the_conditions_of_the_space_and_reach_all_of_it():
    encoding = Encoding(CHOICES)
    assert set(encoding.samples(5_000, np.random.default_rng(0))) == set(encoding.all())


def test_neighbours_have_each_value_of_a_choice_that_they_switch_on():
    encoding = Encoding(CHOICES)
    pointwise = encoding.encode({"width": 3, "kind": "pointwise", "depth": 2})
    found = [encoding.decode(c) for c in encoding.neighbours(pointwise, np.random.default_rng(0))]
    assert sorted(setting["r"] for setting in found if setting["kind"] == "dct") == [2, 4, 8]
    assert len({key(setting) for setting in found}) == len(found) == 4 + 3 + 3


@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_of_a_large_space_is_tried_first(full_space, seed):
    def counted(setting):
        return cost(full_space.decode(setting), 8, 1, 10)

    sampler = KnownCostSampler(full_space.choices, lambda s: (float(counted(s).macs),), seed=seed)
    setting = suggest(new_study(sampler).ask(), full_space.choices)
    least = cost(extreme(full_space, 8, 1, 10, lambda c: c.macs), 8, 1, 10)
    assert counted(setting).macs == least.macs


def test_the_pool_of_a_large_space_is_spread_over_the_whole_range_of_cost(full_space):
    """Of random architectures, fewer than 1 % are in the lowest seventh of the range."""

    def macs(setting):
        return (float(cost(full_space.decode(setting), 8, 1, 10).macs),)

    pool = Candidates(
        Encoding(full_space.choices),
        macs,
        feasible=None,
        identity=full_space.decode,
        seed=[0],
    )
    counts, _ = np.histogram(pool.base_costs[:, 0], bins=BINS)
    assert counts.min() >= 0.4 * POOL / BINS
    settings = [pool.encoding.decode(code) for code in pool.codes]
    assert len({full_space.decode(setting) for setting in settings}) == len(settings)


def test_a_large_space_without_a_feasible_setting_is_exhausted(full_space):
    sampler = KnownCostSampler(
        full_space.choices,
        lambda setting: (float(cost(full_space.decode(setting), 8, 1, 10).macs),),
        feasible=lambda setting: False,
    )
    with pytest.raises(SpaceExhausted):
        suggest(new_study(sampler).ask(), full_space.choices)


def test_a_large_space_under_a_tight_limit_is_searched(full_space):
    def costs(setting):
        return (float(cost(full_space.decode(setting), 32, 3, 10).macs),)

    least = {c.name: c.values[0] for c in full_space.choices} | {
        f"stage{i}.{name}": value for i in (1, 2, 3) for name, value in (("p", 8), ("r", 16))
    }
    smallest = costs(least)[0]
    sampler = KnownCostSampler(
        full_space.choices,
        costs,
        feasible=lambda setting: costs(setting)[0] <= smallest * 1.2,
        identity=full_space.decode,
    )
    settings = search(
        sampler, 12, full_space.choices, lambda s: 0.5 + 0.01 * s["stage1.repeats"], costs
    )
    assert all(costs(setting)[0] <= smallest * 1.2 for setting in settings)
    assert costs(settings[0])[0] == smallest


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
