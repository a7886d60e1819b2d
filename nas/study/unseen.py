"""An architecture that a study has not tried, where its sampler suggests none."""

from __future__ import annotations

import random
from collections.abc import Set as AbstractSet
from itertools import islice

from nas.space.arch import Arch
from nas.space.cost import cost
from nas.study.config import StudyConfig
from nas.study.latency_prediction import LatencyPrediction

MAX_ENUMERATED = 20_000  # spaces up to this many settings are searched for what is unseen
MAX_DRAWS = 10_000  # tries to draw an unseen architecture of a larger space


def draw_unseen(
    config: StudyConfig, taken: AbstractSet[str], seed: int, latency: LatencyPrediction | None
) -> Arch | None:
    """An architecture within the limits that was never tried, or None.

    Args:
        config: of the study.
        taken: `arch_id` of each architecture that has an outcome or is running.
        seed: of the study.
        latency: says which architectures are worth measuring; None: all of them.
    """
    space, data = config.space, config.dataset
    sizes = (data.image_size, data.in_channels, data.num_classes)

    def unseen(arch: Arch) -> bool:
        return arch.arch_id not in taken and config.limits.admit(cost(arch, *sizes))

    def usable(arch: Arch) -> bool:
        return unseen(arch) and (latency is None or latency.worth_measuring(arch))

    rng = random.Random(f"{seed}:{len(taken)}")
    # Measured whatever is expected of it: a model may be wrong about the extreme.
    fastest = None if latency is None else latency.fastest
    if fastest is not None and unseen(fastest):
        return fastest
    if space.size <= MAX_ENUMERATED:
        left = [arch for arch in space.architectures() if usable(arch)]
        return rng.choice(left) if left else None
    drawn = (space.sample(rng) for _ in range(MAX_DRAWS))
    chosen = next((arch for arch in drawn if usable(arch)), None)
    if chosen is not None:
        return chosen
    # Few architectures of a large space may be within the limits.
    admitted = config.limits.all_admitted(space, sizes)
    if latency is not None:  # none of very many may be worth measuring
        admitted = islice(admitted, MAX_ENUMERATED)
    return next(filter(usable, admitted), None)
