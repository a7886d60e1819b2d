"""The careful baseline search: Optuna's `GPSampler` and our trainer, in Ray.

What a careful user builds from the parts that exist: the trainer with its compiled operators,
actors that are reused, the logarithm of cost as the second objective and choices with an order as
integers. With "halving", also `ASHAScheduler` on the accuracy; then only trials that finish the
schedule count. Run as `python -m benchmarks.careful_search halving|none SPACE DATASET DATA_DIR
BUDGET SEED OUT [EPOCHS TRAIN_IMAGES]`; OUT gets what that of `benchmarks.baseline_search` gets.
"""

from __future__ import annotations

import math
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.baseline_search import Finished
from nas.data import SearchData, load_search_data
from nas.files import write_json
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.stopping.rule import rungs
from nas.training import Diverged, Recipe, Trainer, build, default_recipe

CPU = torch.device("cpu")


class CarefulTrial(tune.Trainable):  # type: ignore[misc]
    """Trains to the next rung at each step; its actor is reused for the next trial."""

    def setup(
        self, config: dict[str, Any], space: SearchSpace, data: SearchData, recipe: Recipe
    ) -> None:
        """Store what all trials share."""
        self._space, self._data, self._recipe = space, data, recipe
        self._rungs = rungs(recipe.epochs)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Make the network and trainer of the next trial."""
        info = self._data.info
        arch = self._space.decode(_setting(self._space, new_config))
        self._macs = cost(arch, info.image_size, info.in_channels, info.num_classes).macs
        network = build(arch, info, seed=0)
        self._trainer = Trainer(network, self._data, self._recipe, seed=0, device=CPU, threads=1)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next rung and evaluate."""
        trainer = self._trainer
        rung = next(rung for rung in self._rungs if rung > trainer.epoch)
        try:
            while trainer.epoch < rung:
                trainer.train_epoch()
            accuracy = trainer.evaluate()
        except Diverged:
            accuracy = 0.0
        return {
            "accuracy": accuracy,
            "error": 1 - accuracy,
            "macs": self._macs,
            "log_macs": math.log10(self._macs),
            "epochs": rung,
            "done": rung == self._rungs[-1],
        }


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Every choice with more than one value, in all trials; ordered ones by their position."""
    found: dict[str, BaseDistribution] = {}
    for choice in space.choices:
        if len(choice.values) > 1:
            found[choice.name] = (
                IntDistribution(0, len(choice.values) - 1)
                if choice.ordinal
                else CategoricalDistribution(choice.values)
            )
    return found


def _setting(space: SearchSpace, config: dict[str, Any]) -> dict[str, Any]:
    return {
        choice.name: choice.values[0]
        if len(choice.values) == 1
        else choice.values[config[choice.name]]
        if choice.ordinal
        else config[choice.name]
        for choice in space.choices
    }


def main(
    stopping: str,
    space_file: str,
    dataset: str,
    data_dir: str,
    budget: str,
    seed: str,
    out: str,
    epochs: str = "",
    images: str = "",
) -> None:
    """Run the whole search."""
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    space = SearchSpace.from_yaml(Path(space_file))
    overrides = {"epochs": int(epochs)} if epochs else {}
    overrides |= {"train_images": int(images)} if images else {}
    recipe = default_recipe(dataset, gpu=False).model_copy(update=overrides)
    data = load_search_data(dataset, Path(data_dir))
    finished = Finished(recipe.epochs)
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1")
    halving = (
        ASHAScheduler(
            time_attr="epochs",
            metric="accuracy",
            mode="max",
            max_t=recipe.epochs,
            grace_period=1,
            reduction_factor=2,
        )
        if stopping == "halving"
        else None
    )
    trial = tune.with_parameters(CarefulTrial, space=space, data=data, recipe=recipe)
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(
                    distributions(space),
                    metric=["error", "log_macs"],
                    mode=["min", "min"],
                    sampler=optuna.samplers.GPSampler(seed=int(seed)),
                ),
                scheduler=halving,
                num_samples=int(budget),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                callbacks=[finished],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} trials failed: {results.errors[0]}")
    write_json(Path(out), finished.trials)


if __name__ == "__main__":
    main(*sys.argv[1:])
