"""The baseline search: Ray Tune with `OptunaSearch` and the baseline training.

It is what one writes from the documentation of both; every trial trains the full short schedule.
Run as `python -m benchmarks.baseline_search SPACE DATASET DATA_DIR BUDGET SEED OUT [EPOCHS
TRAIN_IMAGES]`; OUT gets a JSON list of [seconds since the epoch, multiply-adds, accuracy], one
for each trial.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from benchmarks import baseline_training
from nas.data import load_search_data
from nas.files import write_json
from nas.space.cost import cost
from nas.space.space import SearchSpace
from nas.training import Recipe, default_recipe
from nas.training.trainer import shorten


def train(
    config: dict[str, Any], space: SearchSpace, dataset: str, data_dir: Path, recipe: Recipe
) -> None:
    """One trial, on one thread; the subset and the image size are those of the recipe."""
    import torch

    torch.set_num_threads(1)
    whole = load_search_data(dataset, data_dir)
    arch, info = space.decode(config), whole.info
    # At the data set's own size, where the network is to be used: as a search counts it.
    macs = cost(arch, info.image_size, info.in_channels, info.num_classes).macs
    data = shorten(whole, recipe)
    network = baseline_training.plain_network(arch, data.info, seed=0)
    accuracies = baseline_training.train(network, data, recipe, seed=0, workers=0)
    for epochs, accuracy in enumerate(accuracies, 1):
        tune.report({"accuracy": accuracy, "macs": macs, "epochs": epochs})


class Finished(tune.Callback):  # type: ignore[misc]
    """Records when each trial that trained all epochs ended, and its result."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self.trials: list[tuple[float, int, float]] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune."""
        result = trial.last_result
        if int(result["epochs"]) < self._epochs:
            return  # stopped early
        self.trials.append((time.time(), int(result["macs"]), float(result["accuracy"])))


def main(
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
    space = SearchSpace.from_yaml(Path(space_file))
    overrides = {"epochs": int(epochs)} if epochs else {}
    overrides |= {"train_images": int(images)} if images else {}
    recipe = default_recipe(dataset, gpu=False).model_copy(update=overrides)
    finished = Finished(recipe.epochs)
    # A Ray of its own: a cluster that runs on this machine is not part of the comparison.
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1")
    trial = tune.with_parameters(
        train, space=space, dataset=dataset, data_dir=Path(data_dir), recipe=recipe
    )
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space={choice.name: tune.choice(list(choice.values)) for choice in space.choices},
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(
                    metric=["accuracy", "macs"], mode=["max", "min"], seed=int(seed)
                ),
                num_samples=int(budget),
            ),
            run_config=tune.RunConfig(storage_path=folder, callbacks=[finished], verbose=0),
        ).fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} trials failed: {results.errors[0]}")
    write_json(Path(out), finished.trials)


if __name__ == "__main__":
    main(*sys.argv[1:])
