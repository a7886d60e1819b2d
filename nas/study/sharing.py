"""What a study took from its sources: how much was shared, and what that saved."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import optuna
from pydantic import BaseModel, ConfigDict, Field

from nas.format import format_number
from nas.pareto import HypervolumeTracker
from nas.samplers.gaussian_process import FitError
from nas.samplers.known_cost import FittedStudy
from nas.samplers.parameters import SpaceExhausted, suggest
from nas.study.choose_sampler import known_cost_sampler
from nas.study.config import StudyConfig
from nas.study.sources import StudySource, other_accuracy, stored_sources

MOST_TRIALS = 200  # of the simulated cold start
SHARING = "sharing"  # the attribute of a study that holds what it took from its sources

logger = logging.getLogger(__name__)


class SourceShare(BaseModel):
    """What a study took from one source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dataset: str
    fingerprint: str
    num_trials: int  # that finished
    quantized: bool = False  # whether its accuracies are those of the networks in int8
    metric: str | None = None  # of its recipe; None: not known
    shared: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the differences between the study's trials that the source predicts, by the model;
    None while there is no model."""


class Sharing(BaseModel):
    """What a study took from all of its sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceShare, ...]
    trials: int  # of the study that finished
    cold_trials: int | None = None
    """Estimate, from the model alone: trials that a cold start needs for the same hypervolume.
    None: more than `MOST_TRIALS`, or there is no model."""

    measured: str | None = None
    """The study's own `StudyConfig.accuracy_label`; None: not known."""

    def sentences(self) -> list[str]:
        """The same for a reader."""
        lines = []
        for source in self.sources:
            trials = format_number(source.num_trials, "finished trial")
            trials += other_accuracy(source.metric, source.quantized, self.measured)
            text = f"{source.name} ({source.dataset}, {trials})"
            if source.shared is not None:
                text += (
                    f": {100 * source.shared:.0f} % of the predicted differences are shared with it"
                )
            lines.append(text)
        if self.cold_trials is not None or any(one.shared is not None for one in self.sources):
            needed = (
                f"more than {format_number(MOST_TRIALS, 'finished trial')}"
                if self.cold_trials is None
                else f"about {format_number(self.cold_trials, 'finished trial')}"
            )
            lines.append(
                f"Estimate, from the model alone: a cold start needs {needed} for what "
                f"{format_number(self.trials, 'finished trial')} found."
            )
        return lines


def update_sharing(
    study: optuna.Study, config: StudyConfig, seed: int, images: int | None
) -> Sharing | None:
    """Measure what a study took from its sources, and store it; None where it has none.

    The simulated cold start takes up to `MOST_TRIALS` asks of the sampler.
    """
    sources = stored_sources(study)
    if not sources:
        return None
    sampler = known_cost_sampler(config, seed, images, sources)
    try:
        fitted = sampler.fitted(study)
    except FitError as error:
        logger.warning("what was shared with the sources is not known: %s", error)
        fitted = None
    shares = {} if fitted is None else fitted.shares
    sharing = Sharing(
        sources=tuple(_share(source, shares.get(source.name)) for source in sources),
        trials=0 if fitted is None else len(fitted.finished),
        cold_trials=None if fitted is None else _cold_trials(fitted, config, seed, images),
        measured=config.accuracy_label,
    )
    study.set_user_attr(SHARING, sharing.model_dump(mode="json"))
    return sharing


def stored_sharing(study: optuna.Study) -> Sharing | None:
    """What the last search of a study stored."""
    data = study.user_attrs.get(SHARING)
    return None if data is None else Sharing.model_validate(data)


def _share(source: StudySource, shared: float | None) -> SourceShare:
    return SourceShare(
        name=source.name,
        dataset=source.dataset,
        fingerprint=source.fingerprint,
        num_trials=source.num_trials,
        quantized=source.quantized,
        metric=source.metric,
        shared=None if shared is None else round(shared, 3),
    )


def _cold_trials(
    fitted: FittedStudy, config: StudyConfig, seed: int, images: int | None
) -> int | None:
    """Trials until a cold start reaches the hypervolume, if errors are as the model predicts.

    An architecture's error is drawn from its posterior, not its mean: the study's own trials were
    chosen and measured, and a cold start that finds means alone would fall short of the best.
    """
    sampler = known_cost_sampler(config, seed, images)

    def point(setting: dict[str, Any]) -> list[float]:
        arch = config.space.decode(setting).arch_id
        draw = np.random.default_rng([seed, int(arch, 16)]).standard_normal()
        error = min(1.0, max(0.0, fitted.predict(setting, float(draw))))
        return [*np.log10(sampler.costs(setting)).tolist(), error]

    reached = [point(setting) for setting in fitted.finished]
    reference = np.max(reached, axis=0) + 1e-9
    target = _hypervolume(reached, reference)
    tracker, rng = HypervolumeTracker(reference), np.random.default_rng([seed, 7])
    cold = optuna.create_study(sampler=sampler, directions=config.objectives.directions)
    for number in range(1, MOST_TRIALS + 1):
        trial = cold.ask()
        try:
            setting = suggest(trial, config.space.choices)
        except SpaceExhausted:
            return number - 1
        predicted = point(setting)
        error = predicted[-1]
        told = error if images is None else rng.binomial(images, error) / images
        costs = zip(config.objectives.known_names, sampler.costs(setting), strict=True)
        values = {"accuracy": 1.0 - told, **dict(costs)}
        # The sampler takes no notice of a latency.
        cold.tell(trial, [values.get(name, 0.0) for name in config.objectives.names])
        if tracker.add(predicted) >= target - 1e-12:
            return number
    return None


def _hypervolume(points: Sequence[Sequence[float]], reference: np.ndarray) -> float:
    tracker = HypervolumeTracker(reference)
    for point in points:
        tracker.add(point)
    return tracker.volume
