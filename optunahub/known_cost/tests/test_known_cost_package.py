"""The package against Optuna's sampler contract, and its pruner in `study.optimize`."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
)
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)

EPOCHS = 8
SPACE: dict[str, BaseDistribution] = {
    "width": IntDistribution(1, 12),
    "depth": IntDistribution(2, 16, step=2),
    "kind": CategoricalDistribution(["a", "b"]),
    "scale": FloatDistribution(0.5, 2.0, step=0.5),
}


def load() -> ModuleType:
    """The package as OptunaHub loads it: from its folder, under a name of its own."""
    folder = Path(__file__).parents[1]
    spec = importlib.util.spec_from_file_location(
        "known_cost_package", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


package = load()


def costs(params):
    return (params["width"] ** 2 * params["depth"] * params["scale"],)


def accuracy(params, epoch=EPOCHS):
    size = math.log(costs(params)[0]) + 0.5 * (params["kind"] == "a")
    return (1 - 0.5 * math.exp(-0.3 * size)) * (1 - 0.4 / epoch) / (1 - 0.4 / EPOCHS)


def suggest(trial):
    return {
        "width": trial.suggest_int("width", 1, 12),
        "depth": trial.suggest_int("depth", 2, 16, step=2),
        "kind": trial.suggest_categorical("kind", ["a", "b"]),
        "scale": trial.suggest_float("scale", 0.5, 2.0, step=0.5),
    }


def make() -> BaseSampler:
    sampler: BaseSampler = package.KnownCostSampler(SPACE, costs)
    return sampler


class TestContract(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's tests of every sampler."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return make


def test_no_setting_comes_twice_until_all_were_tried():
    space = {"a": IntDistribution(1, 3), "b": CategoricalDistribution([1, 2])}
    sampler = package.KnownCostSampler(space, lambda params: (params["a"] * params["b"],))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

    def objective(trial):
        a, b = trial.suggest_int("a", 1, 3), trial.suggest_categorical("b", [1, 2])
        return 1 - 0.5 / (a + b), a * b

    study.optimize(objective, n_trials=8)
    settings = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(settings[:6])) == 6
    assert len(settings) == 8


def test_sources_and_the_pruner_in_optimize():
    pruner = package.KnownCostPruner(costs, EPOCHS)
    assert pruner.rungs[-1] == EPOCHS

    def objective(trial):
        params = suggest(trial)
        for epoch in pruner.rungs:
            if pruner.should_prune(trial, epoch, accuracy(params, epoch)):
                raise optuna.TrialPruned
        return accuracy(params), costs(params)[0]

    first = optuna.create_study(directions=["maximize", "minimize"], sampler=make())
    first.optimize(objective, n_trials=25)
    ended = [trial for trial in first.trials if trial.state == TrialState.COMPLETE]
    stopped = [trial for trial in first.trials if trial.state == TrialState.PRUNED]
    assert ended
    assert stopped
    assert all(len(trial.user_attrs["curve"]) < len(pruner.rungs) for trial in stopped)
    source = package.Source(
        "first",
        [trial.params for trial in ended],
        [1 - trial.values[0] for trial in ended],
        [costs(trial.params) for trial in ended],
    )
    sampler = package.KnownCostSampler(SPACE, costs, sources=[source])
    second = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    second.optimize(objective, n_trials=4)
    assert {tuple(t.params.items()) for t in second.trials[:3]} <= {
        tuple(t.params.items()) for t in ended
    }


@pytest.mark.parametrize(
    "distribution", [FloatDistribution(0, 1), FloatDistribution(1, 2, log=True)]
)
def test_infinitely_many_values_are_refused(distribution):
    with pytest.raises(ValueError, match="accepted: integers"):
        package.KnownCostSampler({"x": distribution}, costs)


def test_the_pruner_refuses_what_is_no_accuracy():
    study = optuna.create_study(directions=["maximize", "minimize"])
    with pytest.raises(ValueError, match="accepted: 1 to 8"):
        package.KnownCostPruner(costs, EPOCHS).should_prune(study.ask(), 1, 97.5)
