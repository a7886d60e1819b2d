"""Ray Tune's searcher: asks the study for trials and tells it their results."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Protocol, Self

from ray.tune.search import Searcher

from nas.format import format_latency
from nas.study.measurement import Measurement
from nas.study.study import Candidate, SearchStudy
from nas.study.trial_state import OVER_LATENCY
from nas.tune.study_thread import StudyThread

MAX_ATTEMPTS = 3  # to train an architecture whose worker dies or hangs
WORKER_DIED = "worker_died"
TIMEOUT = "timeout"
OUT_OF_MEMORY = "out_of_memory"
ACTOR_SPENT = "its actor ran out of memory in another trial"

logger = logging.getLogger(__name__)


class SearchView(Protocol):
    """The view of a running search."""

    def started(self, candidate: Candidate) -> None:
        """A trial was handed to Ray."""

    def reported(self, candidate: Candidate, epochs: int, accuracy: float) -> None:
        """A running trial reached a rung."""

    def ended(self, candidate: Candidate, state: str, detail: str) -> None:
        """The study holds the result: `finished`, `stopped`, `failed`, `refused`, `interrupted`."""


class StudySearcher(Searcher):  # type: ignore[misc]
    """A Ray Tune searcher over `SearchStudy` (docs/design.md, decision 2); a context manager.

    A `StudyThread` makes every call of the study and of the view. Trials that it asked for
    ahead and that were not launched stay RUNNING in the study when the context ends.

    Args:
        study: the only state; Ray's files hold nothing of it.
        epochs: of a full training; a trial with fewer epochs was stopped early.
        concurrency: maximum number of trials at the same time.
        view: notified of every event.

    Attributes:
        launched: candidates of the trials that Ray runs, by Ray's trial id.
    """

    def __init__(self, study: SearchStudy, epochs: int, concurrency: int, view: SearchView) -> None:
        super().__init__(metric="accuracy", mode="max")
        self._study, self._epochs, self._concurrency, self._view = study, epochs, concurrency, view
        self.launched: dict[str, Candidate] = {}
        self._death_reasons: dict[str, str] = {}  # Ray's trial id -> why its worker died
        self._notices: set[tuple[str, str]] = set()  # (node, why it is slow)
        # Used by the study's thread alone:
        self._curves: dict[int, list[tuple[int, float]]] = {}
        self._attempts: Counter[str] = Counter()  # by arch_id, of architectures whose worker died

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Ray pickles its searcher, and the study holds a password."""
        return {}

    def __enter__(self) -> Self:
        self._thread = StudyThread(self._study, self._concurrency)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        self._thread.close()
        if kind is None:
            self._thread.check()

    def check(self) -> None:
        """Raise the exception that ended the study's thread, if there is one."""
        self._thread.check()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of a trial; None for not now, FINISHED for no more."""
        candidate = self._thread.take()
        if candidate is None:
            return str(Searcher.FINISHED) if self._study.done else None
        self.launched[trial_id] = candidate
        self._thread.do(lambda: self._launch(candidate))
        control = self._study.control_seconds
        return {"arch": candidate.arch.to_json(), "seed": candidate.seed, "control": control}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store the learning curve of a trial that has reached a rung."""
        candidate = self.launched[trial_id]
        self._notice(result)
        if result.get("accuracy") is not None:
            point = (int(result["epochs"]), float(result["accuracy"]))
            self._thread.do(lambda: self._report(candidate, point))

    def set_death_reason(self, trial_id: str, reason: str) -> None:
        """Give the reason why the worker of a trial has died or is about to be killed."""
        self._death_reasons.setdefault(trial_id, reason)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Store the result of a trial, or handle the death of its worker."""
        candidate = self.launched.pop(trial_id)
        death_reason = self._death_reasons.pop(trial_id, WORKER_DIED)
        self._notice(result or {})
        if error or result is None:
            self._thread.do(lambda: self._retry_or_fail(candidate, death_reason), ends=True)
        else:
            last = dict(result)
            self._thread.do(lambda: self._end(candidate, last), ends=True)

    def _launch(self, candidate: Candidate) -> None:
        self._study.launch(candidate.number)
        self._view.started(candidate)

    def _report(self, candidate: Candidate, point: tuple[int, float]) -> None:
        curve = self._curves.setdefault(candidate.number, [])
        if point not in curve:
            curve.append(point)
        self._study.report(candidate.number, curve)
        self._view.reported(candidate, *point)

    def _end(self, candidate: Candidate, result: dict[str, Any]) -> None:
        if result.get("reason") == OVER_LATENCY:
            self._study.refuse(candidate.number, float(result["latency"]))
            self._view.ended(candidate, "refused", format_latency(result["latency"]))
        elif result.get("reason") is not None:
            self._study.fail(candidate.number, str(result["reason"]))
            self._view.ended(candidate, "failed", str(result["reason"]))
        else:
            self._store(candidate, result)

    def _notice(self, result: dict[str, Any]) -> None:
        """Warn once of a node that trains more slowly than it could."""
        notice = (str(result.get("hostname")), str(result.get("notice") or ""))
        if notice[1] and notice not in self._notices:
            self._notices.add(notice)
            logger.warning("node %s: %s", *notice)

    def _store(self, candidate: Candidate, result: dict[str, Any]) -> None:
        point = (int(result["epochs"]), float(result["accuracy"]))
        curve = self._curves.pop(candidate.number, [])
        if point not in curve:
            curve.append(point)
        measurement = Measurement(
            accuracy=point[1],
            epochs=point[0],
            seconds=float(result["seconds"]),
            curve=curve,
            losses=result.get("losses") or (),
            right=result.get("right") or (),
            latency_ratio=result.get("latency_ratio"),
            latency_noise=result.get("latency_noise"),
            latency_control=result.get("latency_control"),
        )
        if measurement.epochs >= self._epochs:
            self._study.complete(candidate.number, measurement)
            self._view.ended(candidate, "finished", f"{measurement.accuracy:.4f}")
        else:
            self._study.stop(candidate.number, measurement)
            self._view.ended(candidate, "stopped", f"at epoch {measurement.epochs}")

    def _retry_or_fail(self, candidate: Candidate, reason: str) -> None:
        """Queue an architecture whose worker died again, except after `OUT_OF_MEMORY`."""
        self._curves.pop(candidate.number, None)
        self._attempts[candidate.arch.arch_id] += reason != ACTOR_SPENT  # caused by another trial
        if self._attempts[candidate.arch.arch_id] < MAX_ATTEMPTS and reason != OUT_OF_MEMORY:
            self._study.interrupt(candidate.number)
            self._view.ended(candidate, "interrupted", reason)
        else:
            self._study.fail(candidate.number, reason)
            self._view.ended(candidate, "failed", reason)
