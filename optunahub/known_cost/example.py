"""Accuracy against multiply-adds of a small network: the second objective is known exactly."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution

import optunahub

package = optunahub.load_local_module("known_cost", registry_root=str(Path(__file__).parents[1]))
# Once published: optunahub.load_module("samplers/known_cost")

EPOCHS = 8
SPACE = {
    "width": IntDistribution(8, 64, step=8),
    "depth": IntDistribution(1, 8),
    "kind": CategoricalDistribution(["plain", "separable"]),
}


def macs(params: Mapping[str, Any]) -> tuple[float, ...]:
    """Multiply-adds, known before training."""
    per_layer = params["width"] ** 2 * (9 if params["kind"] == "plain" else 1.5)
    return (1024.0 * per_layer * params["depth"],)


def train(params: Mapping[str, Any], epoch: int) -> float:
    """Stands for a training: the accuracy after an epoch."""
    size = math.log(params["width"]) + 0.7 * math.log(params["depth"])
    final = 1 - 0.5 * math.exp(-0.4 * size - 0.1 * (params["kind"] == "plain"))
    return final * (1 - 0.3 / epoch)


pruner = package.KnownCostPruner(macs, EPOCHS)


def objective(trial: optuna.Trial) -> tuple[float, float]:
    """Accuracy and multiply-adds of a setting."""
    params = {
        "width": trial.suggest_int("width", 8, 64, step=8),
        "depth": trial.suggest_int("depth", 1, 8),
        "kind": trial.suggest_categorical("kind", ["plain", "separable"]),
    }
    for epoch in range(1, EPOCHS + 1):
        accuracy = train(params, epoch)
        if epoch in pruner.rungs and pruner.should_prune(trial, epoch, accuracy):
            raise optuna.TrialPruned
    return accuracy, macs(params)[0]


if __name__ == "__main__":
    sampler = package.KnownCostSampler(SPACE, macs)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=30)
    for trial in study.best_trials:
        print(trial.params, trial.values)
