"""A small space with known accuracies, and studies that search it."""

import numpy as np
import optuna

import nas
from nas.space.space import Choice

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
