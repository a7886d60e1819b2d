"""Earlier studies in the sampler: what is shared is learned, what misleads is ignored."""

import numpy as np
import optuna
import pytest

import nas
from nas.pareto import HypervolumeTracker
from nas.samplers import KnownCostSampler, Source
from nas.samplers.anova_kernel import AnovaKernel
from nas.samplers.gaussian_process import HyperparameterDensity, HyperparameterSample
from nas.samplers.outcome_transform import OutcomeTransform, OutcomeTransformFamily
from nas.samplers.points import Points
from nas.samplers.posteriors import Posteriors
from nas.samplers.source_model import SourceModel
from nas.samplers.sources import DescriptionEncoding
from nas.space.space import Choice

optuna.logging.set_verbosity(optuna.logging.WARNING)

CHOICES = (
    Choice("width", tuple(range(1, 13))),
    Choice("kind", ("a", "b", "c", "d")),
    Choice("depth", (1, 2, 3, 4, 6, 8)),
)
BONUS = {("a", 2): 0.5, ("b", 4): 0.4, ("c", 1): 0.5, ("d", 8): 0.3, ("a", 6): -0.4}


def macs(setting):
    return (1000.0 * setting["width"] * setting["depth"] * (1 + ord(setting["kind"]) % 3),)


def error(setting, tilt=0.0):
    gain = np.log(setting["width"]) + 0.6 * np.log(setting["depth"])
    gain += BONUS.get((setting["kind"], setting["depth"]), 0.0) + tilt * (setting["kind"] == "b")
    return float(0.05 + 0.5 * np.exp(-gain))


def settings(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {c.name: c.values[int(rng.integers(len(c.values)))] for c in CHOICES} for _ in range(count)
    ]


def source(of=error, count=80):
    made = settings(count)
    return Source("first", made, [of(s) for s in made], [macs(s) for s in made])


def search(sampler, trials, tilt=0.15):
    """The hypervolume after each trial, and the settings."""
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    tracker, curve, tried = HypervolumeTracker([5.4, 0.3]), [], []
    for _ in range(trials):
        trial = study.ask()
        setting = nas.suggest(trial, CHOICES)
        study.tell(trial, [1 - error(setting, tilt), macs(setting)[0]])
        curve.append(tracker.add((float(np.log10(macs(setting)[0])), error(setting, tilt))))
        tried.append(setting)
    return curve, tried


def earlier_search():
    """The settings of a search of the same space on something a little different."""
    return search(KnownCostSampler(CHOICES, macs, seed=9), 40, tilt=0.0)[1]


def test_a_source_of_the_same_kind_saves_trials():
    made = earlier_search()
    known = Source("first", made, [error(s) for s in made], [macs(s) for s in made])
    for seed in range(3):
        cold, _ = search(KnownCostSampler(CHOICES, macs, seed=seed), 12)
        warm, _ = search(KnownCostSampler(CHOICES, macs, seed=seed, sources=[known]), 12)
        assert warm[5] > cold[5]
        assert warm[11] > cold[11]


def test_the_cheapest_is_first_then_those_that_add_most_hypervolume_to_what_the_source_knows():
    known = source()
    _, (first, *others) = search(KnownCostSampler(CHOICES, macs, sources=[known]), 4)
    assert first == {"width": 1, "kind": "c", "depth": 1}
    assert all(setting in known.descriptions for setting in others)


def test_the_front_of_a_source_is_tried_first_as_long_as_it_adds_some():
    """A source whose front has one architecture for each width, and one whose front has three."""
    long = [{"width": w, "kind": "a", "depth": 1} for w in range(1, 13)]
    short = long[:3]
    for made, most in ((long, 9), (short, 6)):
        worse = [s | {"kind": "b"} for s in long]
        errors = [0.4 / s["width"] for s in made] + [0.45] * len(worse)
        both = [*made, *worse]
        known = Source("first", both, errors, [macs(s) for s in both])
        _, (_, *tried) = search(KnownCostSampler(CHOICES, macs, sources=[known]), 14)
        first = [setting in made for setting in tried]
        assert sum(first[:most]) == min(most - 1, len(made))


def test_a_source_whose_ranks_are_reversed_does_little_harm():
    misleading = source(lambda setting: 1.0 - error(setting))
    for seed in range(3):
        cold, _ = search(KnownCostSampler(CHOICES, macs, seed=seed), 40)
        warm, _ = search(KnownCostSampler(CHOICES, macs, seed=seed, sources=[misleading]), 40)
        assert warm[-1] > 0.98 * cold[-1]


def test_a_source_that_is_wrong_among_architectures_of_equal_cost_is_not_used():
    """The model is then that of a cold start, so the next suggestion is the same."""
    choices = (Choice("depth", (1, 2, 4, 8)), Choice("a", tuple("pqrst")), Choice("b", (1, 2, 3)))
    every = [{"depth": d, "a": a, "b": b} for d in (1, 2, 4, 8) for a in "pqrst" for b in (1, 2, 3)]
    rng = np.random.default_rng(8)
    effect = {a: shift for shift, a in enumerate("tqspr")}

    def cost(setting):
        return (1000.0 * setting["depth"],)

    def true(setting):
        gain = 0.5 * np.log(setting["depth"]) + 0.15 * effect[setting["a"]]
        return float(0.05 + 0.4 * np.exp(-gain - 0.05 * setting["b"]))

    permuted = [true(s) for start in range(0, 60, 15) for s in rng.permutation(every[start:][:15])]
    told = rng.choice(60, 24, replace=False)
    asked = []
    for errors in (None, permuted, [true(s) for s in every]):
        sources = [] if errors is None else [Source("s", every, errors, [cost(s) for s in every])]
        sampler = KnownCostSampler(choices, cost, sources=sources)
        study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
        for row in told:
            study.enqueue_trial(every[row])
        for _ in told:
            trial = study.ask()
            setting = nas.suggest(trial, choices)
            study.tell(trial, [1 - true(setting), cost(setting)[0]])
        asked.append([nas.suggest(study.ask(), choices) for _ in range(4)])
        if errors is not None:
            share = sampler.fitted(study).shares["s"]
            assert share == 0.0 if errors is permuted else share > 0.5
    assert asked[0] == asked[1] != asked[2]


def test_a_source_may_describe_architectures_otherwise():
    """Depth times a hundred, and two features that the study does not have as choices."""

    def describe(setting):
        return {"depth": 100 * setting["depth"], "kind": setting["kind"], "w": setting["width"]}

    made = earlier_search()
    told = Source(
        "other",
        [describe(s) | {"fixed": 3} for s in made],
        [error(s) for s in made],
        [macs(s) for s in made],
        settings=[s if i % 2 else None for i, s in enumerate(made)],
    )
    warm, _ = search(KnownCostSampler(CHOICES, macs, sources=[told], describe=describe), 12)
    cold, _ = search(KnownCostSampler(CHOICES, macs), 12)
    assert warm[5] > cold[5]


def test_a_source_that_cannot_be_fitted_is_left_out(caplog):
    alike = Source("alike", [{"n": 1}] * 5, [0.1] * 5, [(10.0,)] * 5)
    sampler = KnownCostSampler(CHOICES, macs, sources=[alike], describe=lambda setting: {"n": 1})
    assert search(sampler, 10)[1] == search(KnownCostSampler(CHOICES, macs), 10)[1]
    assert "source alike" in caplog.text


def test_a_source_knows_what_is_bad_from_forecasts():
    """All trials of kind d and depth 1 or 8 were stopped early; their forecasts are uncertain."""

    def stopped(setting):
        return setting["kind"] == "d" and setting["depth"] in (1, 8)

    def bad(setting):
        return error(setting) + 0.2 * stopped(setting)

    made = settings(120)
    ended = [s for s in made if not stopped(s)]
    few = Source("first", ended, [bad(s) for s in ended], [macs(s) for s in ended])
    variances = [0.01 if stopped(s) else 0.0 for s in made]
    every = Source(
        *("first", made, [bad(s) for s in made], [macs(s) for s in made]),
        log_variances=variances,
    )
    unseen = [s for s in settings(400, seed=5) if stopped(s) and s not in made]

    def predicted(known):
        model = SourceModel(known, unseen, lambda costs: costs - 4.0, 0)
        costs = np.log10([macs(s) for s in unseen]) - 4.0
        return model.errors(model.predict(unseen, costs)[0])

    true = np.array([bad(s) for s in unseen])
    off = [float(np.median(np.abs(predicted(known) - true))) for known in (every, few)]
    assert off[0] < 0.5 * off[1]


def test_what_was_only_forecast_is_not_tried_first():
    """The wider a network the better; the six widest were stopped early."""
    made = [{"width": w, "kind": "a", "depth": 1} for w in range(1, 13)]
    for variances, widest in (([0.0] * 6 + [0.01] * 6, 6), (None, 11)):
        known = Source(
            *("first", made, [0.4 / s["width"] for s in made], [macs(s) for s in made]),
            log_variances=variances,
        )
        _, (_, best) = search(KnownCostSampler(CHOICES, macs, sources=[known]), 2)
        assert best == {"width": widest, "kind": "a", "depth": 1}


def test_suggestions_of_several_sources_repeat_themselves_and_take_turns():
    sources = [source(), source(lambda s: error(s, 0.5), 30)]
    runs = [search(KnownCostSampler(CHOICES, macs, sources=sources), 10)[1] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len({tuple(setting.values()) for setting in runs[0]}) == 10


def test_encoding_takes_unknown_numbers_for_the_nearest_one():
    encoding = DescriptionEncoding([{"n": 1, "k": "x", "same": 5}, {"n": 8, "same": 5}])
    assert [choice.name for choice in encoding.choices] == ["n", "k"]
    rows = encoding.array([{"n": 2, "k": "x"}, {"n": 7, "k": "y"}, {"k": "x"}, {"n": 8}])
    assert rows.tolist() == [[0, 0], [1, 1], [2, 0], [1, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": []}, "0 errors"),
        ({"errors": [0.1, float("nan")]}, "not finite"),
        ({"costs": [(1.0,), (0.0,)]}, "over 0"),
        ({"log_variances": [0.1]}, "for each error"),
        ({"log_variances": [0.1, -0.1]}, "0 or more"),
        ({"log_variances": [0.1, 0.1]}, "at least one measured"),
        ({"settings": [None]}, "1 settings of 2 architectures"),
    ],
)
def test_bad_sources_are_refused(change, message):
    fields = {"descriptions": [{"n": 1}, {"n": 2}], "errors": [0.1, 0.2], "costs": [(1,), (2,)]}
    with pytest.raises(ValueError, match=message):
        Source("bad", **(fields | change))


def test_a_source_with_another_number_of_costs_is_refused():
    fields = {"descriptions": [{"n": 1}, {"n": 2}], "errors": [0.1, 0.2], "costs": [(1,), (2,)]}
    sampler = KnownCostSampler(
        [Choice("n", (1, 2, 3))],
        lambda setting: (setting["n"], 2 * setting["n"]),
        sources=[Source("narrow", **fields)],
    )
    study = optuna.create_study(sampler=sampler, directions=["maximize", *["minimize"] * 2])
    with pytest.raises(ValueError, match=r"source narrow: 1 cost of an arch.*; accepted: 2, as"):
        study.ask({"n": optuna.distributions.CategoricalDistribution((1, 2, 3))})


def points(count, rng, sources):
    codes = rng.integers(0, [len(c.values) for c in CHOICES], (count, len(CHOICES)))
    predicted = rng.normal(size=(count, sources)) if sources else None
    return Points(codes, rng.normal(size=(count, 1)), predicted)


def test_gradient_of_the_density_with_sources_is_that_of_differences():
    rng = np.random.default_rng(3)
    errors = rng.uniform(0.1, 0.5, 14)
    family = OutcomeTransformFamily(errors, errors, np.zeros(14))
    density = HyperparameterDensity(
        AnovaKernel(CHOICES, 2, tilted=True), points(14, rng, 2), family
    )
    u = rng.normal(0, 0.3, len(density))
    _, gradient = density(u)
    for index in range(len(u)):
        step = np.eye(len(u))[index] * 1e-5
        slope = (density(u + step)[0] - density(u - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_variances_with_sources_are_the_diagonal_of_the_covariance():
    rng = np.random.default_rng(4)
    kernel = AnovaKernel(CHOICES, 2, tilted=True)
    seen = points(20, rng, 2)
    covariance = kernel.at(rng.normal(0, 0.3, len(kernel.hyperparameters.prior_mean)))
    assert covariance.diagonal(seen) == pytest.approx(covariance(seen, seen).diagonal())


def test_posteriors_whose_noise_changes_with_cost_are_those_of_the_formula():
    rng = np.random.default_rng(6)
    kernel = AnovaKernel(CHOICES, 1, tilted=True)
    theta = kernel.hyperparameters.prior_mean + rng.normal(
        0, 0.3, len(kernel.hyperparameters.prior_mean)
    )
    theta[kernel.hyperparameters.slices["tilt"]] = 0.8
    seen, pool = points(15, rng, 1), points(9, rng, 1)
    targets, extra = rng.normal(size=(1, 15)), rng.uniform(0.01, 0.3, (1, 15))
    sample = HyperparameterSample(theta, OutcomeTransform(0.0, -2.0, 0.5))
    posteriors = Posteriors(kernel, [sample], pool, exact=True)
    posteriors.observe(seen.part(slice(6)), targets[:, :6], extra[:, :6])
    posteriors.observe(seen, targets, extra)
    one = kernel.at(theta)
    noise = one.noise * np.exp(0.8 * seen.costs[:, 0])
    assert one.noise_at(seen) == pytest.approx(noise)
    inverse, cross = np.linalg.inv(one(seen, seen) + np.diag(noise + extra[0])), one(seen, pool)
    mean, variance = posteriors.predict_pool()
    assert mean == pytest.approx(cross.T @ inverse @ targets[0], abs=1e-8)
    prior = one.diagonal(pool) + one.noise * np.exp(0.8 * pool.costs[:, 0])
    assert variance == pytest.approx(prior - ((inverse @ cross) * cross).sum(0), abs=1e-8)
    measured = posteriors.measurement_noise(0, 1.0)
    assert measured == pytest.approx(extra[0], abs=1e-8)


def test_without_sources_hyperparameters_and_covariance_are_those_of_a_cold_start():
    rng = np.random.default_rng(5)
    cold, warm = AnovaKernel(CHOICES), AnovaKernel(CHOICES, 1, tilted=True)
    size = len(cold.hyperparameters.prior_mean)
    theta = rng.normal(0, 0.3, size)
    seen = points(12, rng, 1)
    with_source = warm.at(
        np.concatenate([theta, [0.0, 0.0, -60.0]])
    )  # own and tilt 1, shared nearly 0
    without = cold.at(theta)(Points(seen.codes, seen.costs), Points(seen.codes, seen.costs))
    assert with_source(seen, seen) == pytest.approx(without, rel=1e-12)
