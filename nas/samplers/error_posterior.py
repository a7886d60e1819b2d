r"""Joint posterior samples of the errors of finished trials, without their measurement noise.

The members of a front are selected for low measured errors, so that their errors were measured
too low on average. The posterior of `ErrorModel` corrects for that: it takes the binomial noise of
the validation split off each measurement, in proportion to what the other trials tell about the
same architecture. A posterior given all trials does not depend on which of them are selected
(Senn, "A note concerning a selection paradox of Dawid's", The American Statistician 62, 2008).

The noise of the kernel is what neither the choices nor binomial noise explain. With one training
of each architecture, nothing tells how much of it is the noise of training and how much is the
architecture's own difference; `OWN_SHARE` of its variance counts as the latter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.samplers.candidates import Candidates
from nas.samplers.encoding import Code, Encoding
from nas.samplers.error_model import MAX_FITTED, ErrorModel
from nas.samplers.history import EndedTrial, History
from nas.samplers.informative import near_front_and_random
from nas.samplers.posteriors import Posteriors
from nas.space.space import Choice
from nas.threads import blas_threads

Array = NDArray[np.float64]

MAX_JOINT = 400  # trials whose posterior is joint; the time is cubic
HMC_DRAWS = ((MAX_FITTED, 16),)
"""As in `error_model.py`; with fewer, intervals are too short and probabilities too sure."""
OWN_SHARE = 0.5  # of the variance of the kernel's noise; 0 where the images are not known


@blas_threads(1)  # trials keep the other cores busy
def draw_errors(
    choices: Sequence[Choice],
    ended: Sequence[EndedTrial],
    costs: Array,
    images: int | None,
    draws: int,
) -> Array:
    """Draw the errors of the finished trials from their joint posterior.

    Of more than `MAX_JOINT` finished trials the posterior of some is joint, half of them the
    nearest to the front. Each of the others is drawn alone, given these and its own measurement.

    Args:
        choices: of the space.
        ended: finished trials, at least `MIN_FINISHED`, and trials that were stopped early, in
            the order of their end, each architecture once.
        costs: [ended, costs] that are known before training, over 0.
        images: number of validation images; None: not known. What the choices do not explain
            then counts as noise.
        draws: number of samples.

    Returns:
        [draws, finished], errors from 0 to 1. The same arguments give the same samples.

    Raises:
        FitError: the model cannot be fitted.
    """
    known: dict[Code | None, tuple[float, ...]] = {
        trial.code: tuple(row) for trial, row in zip(ended, costs.tolist(), strict=True)
    }
    joint = _joint_trials(ended, costs)
    encoding = Encoding(choices)
    candidates = Candidates(
        encoding,
        lambda setting: known[encoding.encode(setting)],
        feasible=None,
        identity=None,
        seed=[0],
        codes=[trial.code for trial in ended],
    )
    model = ErrorModel(candidates, 0, images, hmc_draws=HMC_DRAWS)
    history = History(ended=[ended[i] for i in joint])
    posteriors = model.condition(history)
    own_share = 0.0 if images is None else OWN_SHARE
    finished = [i for i, trial in enumerate(ended) if trial.error is not None]
    column = {i: place for place, i in enumerate(finished)}
    together = [column[i] for i in joint if i in column]
    alone = sorted(set(range(len(finished))) - set(together))
    means, covariances = posteriors.at_observations(len(together), own_share)
    if alone:
        single = _alone(model, posteriors, [ended[finished[i]] for i in alone], own_share)
    rng = np.random.default_rng(0)
    samples = np.empty((draws, len(finished)))
    parts = np.array_split(np.arange(draws), len(posteriors.transforms))
    for index, (rows, transform) in enumerate(zip(parts, posteriors.transforms, strict=True)):
        values, vectors = np.linalg.eigh(covariances[index])  # it may be singular
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        targets = np.empty((len(rows), len(finished)))
        targets[:, together] = means[index] + _symmetric(rng, len(rows), len(together)) @ root.T
        if alone:
            mean, variance = single[0][index], single[1][index]
            deviations = _symmetric(rng, len(rows), len(alone)) * np.sqrt(variance)
            targets[:, alone] = mean + deviations
        samples[rows] = transform.errors(targets)
    return np.clip(samples, 0.0, 1.0, out=samples)


def _joint_trials(ended: Sequence[EndedTrial], costs: Array) -> list[int]:
    """Which trials the model is conditioned on, ascending."""
    finished = [i for i, trial in enumerate(ended) if trial.error is not None]
    if len(ended) <= MAX_JOINT:
        return list(range(len(ended)))
    if len(finished) <= MAX_JOINT:
        return finished  # stopped trials lie far from the front
    errors = np.array([ended[i].error for i in finished])
    rng = np.random.default_rng(len(finished))
    return [finished[i] for i in near_front_and_random(costs[finished], errors, MAX_JOINT, rng)]


def _alone(
    model: ErrorModel, posteriors: Posteriors, trials: list[EndedTrial], own_share: float
) -> tuple[Array, Array]:
    """Means and variances of targets of finished trials, each beside its own measurement."""
    final = model.final_errors(trials)
    transforms = posteriors.transforms
    targets = np.stack([t.targets(final.errors, final.denoised) for t in transforms])
    extra = np.stack([t.variances(final.denoised, final.log_variances) for t in transforms])
    return posteriors.with_own_target(model.points(final.codes), targets, extra, own_share)


def _symmetric(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Standard normal rows, each followed by its negative: their mean is 0 without noise."""
    half = rng.standard_normal(((rows + 1) // 2, columns))
    return np.stack([half, -half], axis=1).reshape(-1, columns)[:rows]
