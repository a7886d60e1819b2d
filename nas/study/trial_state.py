"""One name for each state of a trial: in report, status, dashboard notes and live view."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

from nas.samplers.history import REPEATS_RUNNING

INTERRUPTED = "interrupted"
OVER_LIMIT = "over_limit"
OVER_LATENCY = "over_latency"  # measured before training; final, and no failure
NEVER_LAUNCHED = "never_launched"
LAUNCHED = "launched"  # attribute: False for a trial that was asked for ahead and waits
UNCOUNTED = (INTERRUPTED, OVER_LIMIT, REPEATS_RUNNING, NEVER_LAUNCHED)
"""Reasons of FAIL that do not count for `--max-failures`."""

STATES = ("finished", "stopped", "failed", "interrupted", "refused", "repeat", "running", "queued")
"""What `trial_state` returns, in the order in which tables list it."""

_NAMES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}


def trial_state(trial: FrozenTrial) -> str:
    """The state of a trial in one word.

    Returns:
        `finished` (trained to the end), `stopped` (early), `failed`, `interrupted` (given
        up, and its architecture queued again), `refused` (over a limit,
        or its architecture is in training), `repeat` (has the result of an
        earlier trial of its architecture),
        `running` or `queued` (also one that was asked for ahead and waits for a free slot).
    """
    attributes = trial.user_attrs
    if "duplicate_of" in attributes:
        return "repeat"
    if trial.state == TrialState.FAIL:
        reason = attributes.get("reason")
        if reason in (INTERRUPTED, NEVER_LAUNCHED):
            return "interrupted"
        if reason in (OVER_LIMIT, OVER_LATENCY, REPEATS_RUNNING):
            return "refused"
    if trial.state == TrialState.RUNNING and attributes.get(LAUNCHED) is False:
        return "queued"
    return _NAMES[trial.state]
