"""Ray Tune's scheduler: stops the trials that can hardly enter the front any more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.space.arch import Arch
from nas.stopping.rule import DEFAULT_SETTINGS, StoppingSettings, TrialCurve, decide
from nas.study.study import SearchStudy
from nas.study.trial_curves import known_costs, trial_curves
from nas.tune.searcher import ACTOR_SPENT, OUT_OF_MEMORY

logger = logging.getLogger(__name__)

OUT_OF_MEMORY_ADVICE = "RAY_memory_usage_threshold"  # in Ray's words when it frees memory


class FrontScheduler(FIFOScheduler):  # type: ignore[misc]
    """Asks `nas.stopping.rule.decide` at each rung.

    What trials showed before this process comes from the study, everything since from the
    results that Ray delivers. With an objective whose value is not known before training
    (latency) a trial may enter the front by it, so none is stopped.

    Args:
        study: its trials and their costs.
        epochs: of the whole schedule.
        images: of the validation split.
        settings: of the stopping rule.
        lost: told of a trial that lost its worker for want of memory, its own or another's.
    """

    def __init__(
        self,
        study: SearchStudy,
        epochs: int,
        images: int,
        settings: StoppingSettings = DEFAULT_SETTINGS,
        lost: Callable[[str, str], None] | None = None,
    ) -> None:
        super().__init__()
        self._lost = lost
        self._study, self._epochs = study, epochs
        self._images, self._settings = images, settings
        objectives = study.config.objectives
        self._decides = len(objectives.known) + 1 == len(objectives.names)
        self._shown = trial_curves(study)  # by arch_id: an architecture that is retried counts once

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its scheduler, and the study holds a password."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A rung was reached: go on or stop."""
        arch_id = self._take(trial, result)
        if arch_id is None or not self._decides or int(result["epochs"]) >= self._epochs:
            return str(TrialScheduler.CONTINUE)
        decision = decide(
            self._shown[arch_id],
            [shown for other, shown in self._shown.items() if other != arch_id],
            self._epochs,
            self._settings,
            images=self._images,
        )
        if decision.goes_on:
            return str(TrialScheduler.CONTINUE)
        logger.info(
            "%s stopped at epoch %d with %.2f %%: hardly over %.2f %% at the end, too little for "
            "its cost beside the %.2f %% that are there at no higher one",
            arch_id,
            result["epochs"],
            100 * result["accuracy"],
            100 * (decision.at_best or 0.0),
            100 * (decision.to_beat or 0.0),
        )
        return str(TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last epoch was reached: what it showed is what the others are judged by."""
        self._take(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died: the scheduler hears of it before the searcher, and with the error."""
        error = _death(trial)
        logger.error("worker of trial %s died: %s", trial.trial_id, error[:400])
        if self._lost is not None and OUT_OF_MEMORY_ADVICE in error:
            self._lost(trial.trial_id, OUT_OF_MEMORY)
        elif self._lost is not None and ACTOR_SPENT in error:
            self._lost(trial.trial_id, ACTOR_SPENT)

    def debug_string(self) -> str:
        """For Ray's status lines."""
        return f"Stopping early with confidence {self._settings.confidence:g}"

    def _take(self, trial: Any, result: dict[str, Any]) -> str | None:
        """Keep a result; the architecture's id, None for a trial that failed."""
        if result.get("accuracy") is None or result.get("reason") is not None:
            return None
        arch, epoch = Arch.from_json(trial.config["arch"]), int(result["epochs"])
        cost, known = self._study.cost(arch), self._shown.get(arch.arch_id)
        # An architecture whose worker died starts again from its first epoch.
        before = {e: a for e, a in known.curve.items() if e < epoch} if known else {}
        self._shown[arch.arch_id] = TrialCurve(
            known_costs(self._study, cost),
            {**before, epoch: float(result["accuracy"])},
        )
        return arch.arch_id


def _death(trial: Any) -> str:
    """What Ray wrote of the death of a trial's worker, on one line."""
    try:
        return " ".join(Path(trial.error_file).read_text().split())
    except (OSError, TypeError):
        return "unknown"
