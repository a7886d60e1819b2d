"""Trials that a driver which died left RUNNING (docs/design.md, decision 5)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import optuna
from optuna.trial import TrialState

from nas.study.storage.optuna_private import trial_handle
from nas.study.trial_state import INTERRUPTED, LAUNCHED, NEVER_LAUNCHED


def queue_left_behind(study: optuna.Study, ended: AbstractSet[str]) -> int:
    """Fail the trials that are RUNNING, and queue their architectures again.

    Call it under the study's lock, while no trial runs: no other driver works on the study then,
    so every RUNNING trial was left behind.

    Args:
        study: the Optuna study.
        ended: `arch_id` of each architecture that has an outcome, and is not queued again.

    Returns:
        How many trials were left behind.
    """
    trials = study.get_trials(deepcopy=False)
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    queued = {trial.user_attrs.get("retry_arch") for trial in waiting}
    left = [trial for trial in trials if trial.state == TrialState.RUNNING]
    for trial in left:
        handle = trial_handle(study, trial.number)
        complete = "arch" in trial.user_attrs  # the asking was not cut short
        launched = complete and trial.user_attrs.get(LAUNCHED, True)
        arch_id = trial.user_attrs.get("arch_id")
        # Queue first, fail second: a crash between the two loses nothing.
        retried = trial.user_attrs.get("retry_arch")
        if complete and arch_id not in queued and arch_id not in ended:
            attributes = {"retry_of": trial.number, "retry_arch": str(arch_id)}
            study.enqueue_trial(dict(trial.params), user_attrs=attributes)
            queued.add(arch_id)
        elif not complete and retried and retried not in queued | ended:
            fixed = trial.system_attrs.get("fixed_params", trial.params)
            attributes = {"retry_of": trial.user_attrs["retry_of"], "retry_arch": retried}
            study.enqueue_trial(dict(fixed), user_attrs=attributes)
            queued.add(retried)
        handle.set_user_attr("reason", INTERRUPTED if launched else NEVER_LAUNCHED)
        study.tell(trial.number, state=TrialState.FAIL)
    return len(left)
