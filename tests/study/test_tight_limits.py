"""Searches of a space of millions of which a handful is within the limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from nas.space.cost import cost
from nas.space.limits import Limits, extreme
from nas.space.named import DEFAULT_SPACE
from nas.space.space import SearchSpace
from nas.study.choose_sampler import choose_sampler
from nas.study.config import StudyConfig
from nas.study.measurement import Measurement
from nas.study.study import SearchStudy


@pytest.mark.parametrize("sampler", ["known-cost", "random"])
def test_every_architecture_within_the_limits_is_found(
    tiny_config: StudyConfig, sampler: str
) -> None:
    space, info = SearchSpace.from_yaml(Path(DEFAULT_SPACE)), tiny_config.dataset
    sizes = (info.image_size, info.in_channels, info.num_classes)
    least = cost(extreme(space, *sizes, lambda c: c.flash), *sizes).flash
    config = replace(tiny_config, space=space, limits=Limits(max_flash=int(1.05 * least)))
    within = set(config.limits.all_admitted(space, sizes))
    assert 5 < len(within) < 50
    chosen = choose_sampler(sampler, config, 0, 0, None)
    study = SearchStudy(
        optuna.create_study(sampler=chosen.sampler, directions=config.objectives.directions),
        config, budget=100, joint=chosen.joint,
    )  # fmt: skip
    study.recover()
    found = set()
    while (candidate := study.ask()) is not None:
        found.add(candidate.arch)
        study.complete(candidate.number, Measurement(0.9, 2, 1.0, [(2, 0.9)]))
    assert study.exhausted
    assert found == within
