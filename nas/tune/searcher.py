"""Ray Tune's view of the study: ask for a trial, tell what it showed."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Protocol

from ray.tune.search import Searcher

from nas.study.study import Candidate, Measurement, SearchStudy

MAX_ATTEMPTS = 3  # of an architecture whose worker died or hung
WORKER_DIED = "worker_died"
TIMEOUT = "timeout"
OUT_OF_MEMORY = "out_of_memory"
ACTOR_SPENT = "its actor ran out of memory in another trial"

logger = logging.getLogger(__name__)


class View(Protocol):
    """What is shown while a search runs."""

    def started(self, candidate: Candidate) -> None:
        """A trial was handed to Ray."""

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None:
        """A running trial reached a rung."""

    def ended(self, candidate: Candidate, state: str, detail: str) -> None:
        """A trial was recorded: `finished`, `stopped`, `failed` or `interrupted`."""


class StudySearcher(Searcher):  # type: ignore[misc]
    """A Ray Tune searcher over `SearchStudy` (DESIGN, decision 2).

    Args:
        study: the only state; nothing of it goes into Ray's files.
        epochs: of the whole schedule; a trial that reported fewer was stopped early.
        concurrency: trials in flight at the most.
        view: told of every change.
    """

    def __init__(self, study: SearchStudy, epochs: int, concurrency: int, view: View) -> None:
        super().__init__(metric="accuracy", mode="max")
        self._study, self._epochs, self._concurrency, self._view = study, epochs, concurrency, view
        self._numbers: dict[str, int] = {}  # Ray's trial id -> the study's number
        self._curves: dict[int, list[tuple[int, float]]] = {}
        self._attempts: Counter[str] = Counter()  # of architectures that were lost
        self._given_up: dict[str, str] = {}  # Ray's trial id -> why its worker was killed
        self._notices: set[tuple[str, str]] = set()  # (node, what it said of itself)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its searcher, and the study holds a password."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial's configuration, None for not now, FINISHED for no more."""
        if len(self._study.running) >= self._concurrency:
            return None
        candidate = self._study.ask()
        if candidate is None:
            return str(Searcher.FINISHED) if self._study.done else None
        self._numbers[trial_id] = candidate.number
        self._curves[candidate.number] = []
        self._view.started(candidate)
        return {"arch": candidate.arch.to_json(), "seed": candidate.seed}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A rung was reached."""
        number = self._numbers[trial_id]
        self._notice(result)
        if result.get("accuracy") is None:
            return
        point = (int(result["epochs"]), float(result["accuracy"]))
        if point not in self._curves[number]:
            self._curves[number].append(point)
        self._study.report(number, self._curves[number])
        self._view.reported(self._study.running[number], *point)

    def give_up(self, trial_id: str, reason: str) -> None:
        """The worker of this trial was killed, or is about to be, for `reason`."""
        self._given_up.setdefault(trial_id, reason)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended: finished, stopped, failed, or lost with its worker."""
        number = self._numbers.pop(trial_id)
        candidate = self._study.running[number]
        killed = self._given_up.pop(trial_id, None)
        self._notice(result or {})
        if error or result is None:
            self._lost(candidate, killed or WORKER_DIED)
        elif result.get("reason") is not None:
            self._study.fail(number, str(result["reason"]))
            self._view.ended(candidate, "failed", str(result["reason"]))
        else:
            self._record(candidate, result)
        self._curves.pop(number, None)

    def _notice(self, result: dict[str, Any]) -> None:
        """Warn of a node that trains more slowly than it could, once."""
        notice = (str(result.get("hostname")), str(result.get("notice") or ""))
        if notice[1] and notice not in self._notices:
            self._notices.add(notice)
            logger.warning("node %s: %s", *notice)

    def _record(self, candidate: Candidate, result: dict[str, Any]) -> None:
        point = (int(result["epochs"]), float(result["accuracy"]))
        curve = self._curves[candidate.number]
        if point not in curve:
            curve.append(point)
        measurement = Measurement(
            accuracy=point[1],
            epochs=point[0],
            seconds=float(result["seconds"]),
            curve=curve,
            latency=result.get("latency"),
            latency_noise=result.get("latency_noise"),
        )
        if measurement.epochs >= self._epochs:
            self._study.complete(candidate.number, measurement)
            self._view.ended(candidate, "finished", f"{measurement.accuracy:.4f}")
        else:
            self._study.stop(candidate.number, measurement)
            self._view.ended(candidate, "stopped", f"at epoch {measurement.epochs}")

    def _lost(self, candidate: Candidate, reason: str) -> None:
        """The worker died or was killed: try again, up to a limit, but not for memory."""
        self._attempts[candidate.arch.arch_id] += reason != ACTOR_SPENT  # not its own fault
        if self._attempts[candidate.arch.arch_id] < MAX_ATTEMPTS and reason != OUT_OF_MEMORY:
            self._study.interrupt(candidate.number)
            self._view.ended(candidate, "interrupted", reason)
        else:
            self._study.fail(candidate.number, reason)
            self._view.ended(candidate, "failed", reason)
