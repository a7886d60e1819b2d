"""Synthetic studies: results that depend on the architecture, written as a search writes them."""

from __future__ import annotations

import datetime
import math
import random
from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial

from nas.samplers import distribution
from nas.space.cost import cost
from nas.study.config import StudyConfig
from nas.study.objectives import known_values
from nas.study.storage.engine import open_storage, sqlite_url

optuna.logging.set_verbosity(optuna.logging.ERROR)

START = datetime.datetime(2026, 11, 1, 12, 0)
DCT_GAIN = 0.04  # accuracy per DCT stage, of networks of equal cost


def synthetic_study(
    config: StudyConfig,
    trials: int,
    *,
    storage: Path | None = None,
    name: str = "synthetic",
    stopped: float = 0.2,
    failed: float = 0.05,
    reason: str = "diverged",
    seed: int = 0,
) -> optuna.Study:
    """A study of random architectures; accuracy rises with cost and with DCT stages."""
    rng = random.Random(seed)
    study = optuna.create_study(
        storage=open_storage(sqlite_url(storage), create=True) if storage else None,
        study_name=name,
        directions=config.objectives.directions,
    )
    for key, value in config.to_attributes().items():
        study.set_user_attr(key, value)
    study.set_user_attr("sampler", "random")
    study.set_user_attr("seed", seed)
    data, made, seen = config.dataset, [], set()
    while len(made) < trials:
        setting = config.space.sample_setting(rng)
        arch = config.space.decode(setting)
        if arch.arch_id in seen and len(seen) < config.space.distinct_size / 2:
            continue
        seen.add(arch.arch_id)
        counted = cost(arch, data.image_size, data.in_channels, data.num_classes)
        dct = sum(stage.expansion == "dct" for stage in arch.stages)
        error = 1.5 / math.log10(counted.macs) - DCT_GAIN * dct / 2 + rng.gauss(0, 0.008)
        accuracy = 1 - min(0.95, max(0.001, error))
        epochs = config.recipe.epochs
        draw = rng.random()
        state = TrialState.COMPLETE
        if draw < failed:
            state = TrialState.FAIL
        elif draw < failed + stopped:
            state, epochs, accuracy = TrialState.PRUNED, max(1, epochs // 2), accuracy * 0.9
        attributes = {
            "arch_id": arch.arch_id, **known_values(counted),
            "seed": 0, "arch": arch.to_dict(),
        }  # fmt: skip
        if state == TrialState.FAIL:
            attributes["reason"] = reason
        else:
            curve = [[e, accuracy * (1 - 0.4 / e)] for e in range(1, epochs)]
            attributes |= {
                "accuracy": accuracy, "epochs": epochs, "seconds": 3.5,
                "curve": [*curve, [epochs, accuracy]],
            }  # fmt: skip
        measured = {"accuracy": accuracy, **known_values(counted),
                    "latency": counted.macs / 1e9}  # fmt: skip
        if "latency" in config.objectives.names and state != TrialState.FAIL:
            attributes["latency"] = measured["latency"]
        values = config.objectives.values(measured) if state == TrialState.COMPLETE else None
        choices = {c.name: c for c in config.space.choices if len(c.values) > 1}
        params = {key: value for key, value in setting.items() if key in choices}
        trial = create_trial(
            state=state,
            values=values,
            params=params,
            distributions={key: distribution(choices[key]) for key in params},
            user_attrs=attributes,
        )
        trial.datetime_start = START + datetime.timedelta(seconds=4 * len(made))
        trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=4)
        made.append(trial)
    study.add_trials(made)
    return study
