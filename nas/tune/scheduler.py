"""Ray Tune's scheduler: stops trials that are unlikely to enter the front."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.space.arch import Arch
from nas.stopping.rule import DEFAULT_SETTINGS, TrialCurve, decide
from nas.study.study import SearchStudy
from nas.study.trial_curves import known_costs, trial_curves
from nas.tune.searcher import ACTOR_SPENT, OUT_OF_MEMORY

logger = logging.getLogger(__name__)

OUT_OF_MEMORY_ADVICE = "RAY_memory_usage_threshold"  # part of Ray's out-of-memory message


class FrontScheduler(FIFOScheduler):  # type: ignore[misc]
    """Applies the stopping rule, `nas.stopping.rule.decide`, at each rung.

    Learning curves of earlier runs come from the study, those of this run from Ray's results.
    No trial is stopped when an objective is unknown before training (latency), since any trial
    may enter the front by it.

    Args:
        study: the trials and their costs.
        epochs: of a full training.
        images: of the validation split.
        set_death_reason: called with a Ray trial id and a reason when a worker dies because
            its trial, or another one of the same actor, ran out of memory.
    """

    def __init__(
        self,
        study: SearchStudy,
        epochs: int,
        images: int,
        set_death_reason: Callable[[str, str], None] | None = None,
    ) -> None:
        super().__init__()
        self._set_death_reason = set_death_reason
        self._study, self._epochs = study, epochs
        self._images = images
        objectives = study.config.objectives
        self._decides = len(objectives.known) + 1 == len(objectives.names)
        self._curves = trial_curves(study)  # by arch_id, so a retried architecture counts once

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Ray pickles its scheduler, and the study holds a password."""
        return {}

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: Tune then gives an actor that is free to a trial that has none.

        Otherwise Tune gives it to the trial that has waited longest, and ends the actor that
        starts for that one. Where trials end faster than actors start, most never get up.
        """

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop or continue a trial that has reached a rung."""
        arch_id = self._add_result(trial, result)
        if arch_id is None or not self._decides or int(result["epochs"]) >= self._epochs:
            return str(TrialScheduler.CONTINUE)
        decision = decide(
            self._curves[arch_id],
            [curve for other, curve in self._curves.items() if other != arch_id],
            self._epochs,
            images=self._images,
        )
        if decision.goes_on:
            return str(TrialScheduler.CONTINUE)
        logger.info(
            "%s stopped at epoch %d with %.2f %%: bound of the forecast %.2f %%, best at no higher "
            "cost %.2f %%",
            arch_id,
            result["epochs"],
            100 * result["accuracy"],
            100 * (decision.at_best or 0.0),
            100 * (decision.to_beat or 0.0),
        )
        return str(TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Add the final accuracy, which later decisions compare with."""
        self._add_result(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tell the reason why a worker died; the searcher, called next, does not get the error."""
        error = _death_message(trial)
        logger.error("worker of trial %s died: %s", trial.trial_id, error[:400])
        if self._set_death_reason is not None:
            if OUT_OF_MEMORY_ADVICE in error:
                self._set_death_reason(trial.trial_id, OUT_OF_MEMORY)
            elif ACTOR_SPENT in error:
                self._set_death_reason(trial.trial_id, ACTOR_SPENT)

    def debug_string(self) -> str:
        """For Ray's status lines."""
        return f"Stopping early with confidence {DEFAULT_SETTINGS.confidence:g}"

    def _add_result(self, trial: Any, result: dict[str, Any]) -> str | None:
        """Add a result to its curve; return the arch_id, None for a trial that failed."""
        if result.get("accuracy") is None or result.get("reason") is not None:
            return None
        arch, epoch = Arch.from_json(trial.config["arch"]), int(result["epochs"])
        cost, known = self._study.cost(arch), self._curves.get(arch.arch_id)
        # An architecture whose worker died is trained again from the first epoch.
        before = {e: a for e, a in known.curve.items() if e < epoch} if known else {}
        self._curves[arch.arch_id] = TrialCurve(
            known_costs(self._study, cost),
            {**before, epoch: float(result["accuracy"])},
            tuple(result.get("losses") or ()),
        )
        return arch.arch_id


def _death_message(trial: Any) -> str:
    """Ray's message about the death of a trial's worker, on one line."""
    try:
        return " ".join(Path(trial.error_file).read_text().split())
    except (OSError, TypeError):
        return "unknown"
