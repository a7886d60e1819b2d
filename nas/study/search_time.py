"""How long a search takes, from short trainings of a few networks of its space."""

from __future__ import annotations

import math
import random
from functools import partial

import numpy as np
import torch

from nas.data import Split
from nas.progress import Progress, silent
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.limits import extreme
from nas.stopping.rule import rungs
from nas.study.plan import Plan
from nas.training import build
from nas.training.speed import MARGIN, VALIDATION, measure_speed

MEASURED_SECONDS = 6.0  # of training, of all networks together
MEASURED_NETWORKS = 4
MEASURED_BATCHES = 2  # of a short epoch: an expensive network takes seconds for each
DRAWS = 500  # architectures, from which those to measure are chosen


def can_estimate(plan: Plan) -> bool:
    """Whether this machine tells the time: trials train on its CPUs, on images that are here."""
    here = plan.request.ray_address is None and not plan.gpus_per_trial
    return here and plan.data.notes.download is None and plan.counted < plan.request.budget


def estimate_seconds(plan: Plan, progress: Progress = silent) -> float:
    """Seconds that the rest of a search trains, if no trial is stopped early.

    The default sampler tries more cheap networks than expensive ones: the logarithm of a trial's
    cost is taken to lie at u^2 of its range, for u evenly spread over [0, 1].

    Args:
        plan: one for which `can_estimate` is true.
        progress: shows how many networks have been timed.
    """
    request, data, recipe = plan.request, plan.data, plan.config.recipe
    archs = _within_limits(plan)
    low, high = math.log(min(archs)), math.log(max(archs))
    spread = (np.arange(MEASURED_NETWORKS) + 0.5) / MEASURED_NETWORKS
    wanted = np.exp(low + (high - low) * spread**2)
    nearest = {min(archs, key=lambda macs: abs(math.log(macs / each))) for each in wanted}
    speed = measure_speed(
        {macs: partial(build, archs[macs], data.info, 0) for macs in nearest},
        *(data, recipe),
        device=torch.device("cpu"),
        threads=max(1, int(request.cpus_per_trial)),
        seconds=MEASURED_SECONDS,
        batches=MEASURED_BATCHES,
        progress=progress,
    )
    trained = recipe.epochs * _used(data.train, recipe.train_images)
    evaluated = len(rungs(recipe.epochs)) * _used(data.val, recipe.val_images)
    trial = (trained + VALIDATION * evaluated) * float(np.mean([speed.image(m) for m in wanted]))
    left = request.budget - plan.counted
    return MARGIN * trial * left / min(plan.concurrency, left)


def _within_limits(plan: Plan) -> dict[int, Arch]:
    """Architectures within the limits, by multiply-adds; the cheapest of the space among them."""
    space, limits, info = plan.config.space, plan.config.limits, plan.config.dataset
    sizes = (info.image_size, info.in_channels, info.num_classes)
    rng = random.Random(0)
    archs = [extreme(space, *sizes, lambda c: c.macs), *limits.admitted(space, sizes)]
    archs += [space.sample(rng) for _ in range(DRAWS)]
    costs = [(cost(arch, *sizes), arch) for arch in archs]
    return {counted.macs: arch for counted, arch in costs if limits.admit(counted)}


def _used(split: Split, images: int | None) -> int:
    return len(split) if images is None else min(images, len(split))
