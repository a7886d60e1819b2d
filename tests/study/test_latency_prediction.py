"""A search whose sampler learns latencies from what was measured."""

from __future__ import annotations

import html
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from nas.deploy.latency_model import MIN_NETWORKS, TERMS, Sizes, terms
from nas.report.analysis import read_study
from nas.report.page import render
from nas.samplers import KnownCostSampler
from nas.space.arch import Arch
from nas.space.limits import Limits, least
from nas.space.named import DEFAULT_SPACE
from nas.space.space import SearchSpace
from nas.study.choose_sampler import choose_sampler
from nas.study.config import StudyConfig
from nas.study.front_file import FrontFile, front_file
from nas.study.latency_prediction import measured_latencies, prediction_error
from nas.study.measurement import Measurement
from nas.study.objectives import Objectives
from nas.study.sources import StudySource
from nas.study.study import SearchStudy
from nas.study.trial_state import trial_state

BUDGET = 26
LIMIT = 0.01


@pytest.fixture
def config(tiny_config: StudyConfig) -> StudyConfig:
    return replace(tiny_config, space=SearchSpace.from_yaml(Path(DEFAULT_SPACE)))


def seconds(arch: Arch, config: StudyConfig, noise: float = 0.02) -> float:
    """Seconds on a synthetic machine: linear in the terms, and some relative noise."""
    info = config.dataset
    values = dict(
        zip(TERMS, terms(arch, Sizes(info.image_size, info.in_channels, info.num_classes)),
            strict=True)
    )  # fmt: skip
    factor = np.random.default_rng(int(arch.arch_id, 16)).normal(1, noise)
    return float(factor * (5e-4 * values["dct_blocks"] + 2e-7 * values["elements"]))


def _to_text(page: str) -> str:
    return html.unescape(" ".join(page.split()))


def search(
    config: StudyConfig, most: int = 10_000, sources: Sequence[StudySource] = ()
) -> tuple[SearchStudy, list[bool]]:
    """The study, and of each of at most so many trials in order whether it was over the limit."""
    chosen = choose_sampler("known-cost", config, 0, 0, None, sources)
    study = SearchStudy(
        optuna.create_study(sampler=chosen.sampler, directions=config.objectives.directions),
        config, budget=BUDGET, latency=chosen.latency,
    )  # fmt: skip
    study.recover()
    over: list[bool] = []
    while len(over) < most and (candidate := study.ask()) is not None:
        taken = seconds(candidate.arch, config)
        over.append(config.limits.max_latency is not None and taken > config.limits.max_latency)
        if over[-1]:
            study.refuse(candidate.number, taken)
            continue
        accuracy = 1 - 1.5 / math.log10(candidate.cost.macs)
        study.complete(
            candidate.number,
            Measurement(
                *(accuracy, 8, 1.0, [(8, accuracy)]),
                latency_ratio=taken / 0.001, latency_noise=0.02, latency_control=0.001,
            ),
        )  # fmt: skip
    return study, over


def test_networks_over_the_limit_are_no_longer_suggested(config: StudyConfig) -> None:
    study, over = search(replace(config, limits=Limits(max_latency=LIMIT)))
    assert study.counted == BUDGET
    assert sum(over[:5]) > 2  # before there is a model
    assert sum(over[-20:]) <= 2
    measured = measured_latencies(study.study)
    error = prediction_error(measured, study.config)
    assert error is not None
    assert error.median < 0.2
    assert error.networks == len(measured)
    assert prediction_error(measured[:MIN_NETWORKS], study.config) is None
    data = read_study(study.study, study.config)
    assert error.sentence() in _to_text(render(data))
    entries = front_file("s", study.config, data.members, None, error)
    assert FrontFile.model_validate(entries.model_dump()).latency_prediction == error


def test_the_latency_of_a_stopped_trial_is_learned_from_too(config: StudyConfig) -> None:
    study = SearchStudy(
        optuna.create_study(directions=config.objectives.directions), config, budget=2
    )
    candidate = study.ask()
    assert candidate is not None
    timed: dict[str, Any] = {
        "latency_ratio": 2.0, "latency_noise": 0.02, "latency_control": 0.001,
    }  # fmt: skip
    study.stop(candidate.number, Measurement(*(0.5, 4, 1.0, [(4, 0.5)]), **timed))
    assert measured_latencies(study.study) == [(candidate.arch, 0.002)]
    assert study.control_seconds == 0.001


def test_a_continued_search_predicts_as_one_that_was_not_interrupted(config: StudyConfig) -> None:
    config = replace(config, limits=Limits(max_latency=LIMIT))
    study, _ = search(config)
    continued = choose_sampler("known-cost", config, 0, BUDGET, None)
    assert continued.latency is not None
    assert continued.latency.learn(study.study)
    assert not continued.latency.learn(study.study)  # of the same networks
    before, after = study.study.sampler, continued.sampler
    assert isinstance(before, KnownCostSampler)
    assert isinstance(after, KnownCostSampler)
    feasible = [s._draw_candidates(0).codes for s in (before, after)]
    assert feasible[0] == feasible[1]


def test_a_search_ends_where_no_other_network_is_expected_within_the_limit(
    config: StudyConfig,
) -> None:
    fastest = least(config.space, lambda arch: round(1e9 * seconds(arch, config, noise=0)))
    limit = 1.1 * seconds(fastest, config, noise=0)
    study, over = search(replace(config, limits=Limits(max_latency=limit)), most=100)
    assert study.exhausted
    assert 0 < study.counted < BUDGET
    assert len(over) < 100
    states = [trial_state(trial) for trial in study.study.get_trials()]
    assert states.count("interrupted") <= 6  # where the model changed


def test_a_source_gets_expected_latencies_too(config: StudyConfig) -> None:
    rng = random.Random(0)
    archs = tuple(config.space.sample(rng) for _ in range(20))
    accuracies = tuple(1 - 1.5 / math.log10(1000 * arch.stem) for arch in archs)
    source = StudySource("first", "digits", "", None, 20, archs, accuracies)
    config = replace(config, objectives=Objectives(("accuracy", "macs", "latency")))
    study, _ = search(config, most=9, sources=[source])
    sampler: Any = study.study.sampler
    assert {len(costs) for costs in sampler._sources[0].costs} == {2}
    assert sampler._model.sources.models


def test_expected_latency_is_a_cost_of_the_sampler(config: StudyConfig) -> None:
    study, _ = search(replace(config, objectives=Objectives(("accuracy", "macs", "latency"))))
    assert study.counted == BUDGET
    assert len(study.study.best_trials) > 3
    sampler: Any = study.study.sampler
    codes = sampler._candidates.codes[:5]
    assert sampler._candidates.costs(codes).shape == (5, 2)
