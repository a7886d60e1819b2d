"""What a study's trials showed, in the form that the rule for stopping early takes."""

from __future__ import annotations

from nas.samplers.history import curve
from nas.stopping.rule import TrialCurve
from nas.study.objectives import KNOWN
from nas.study.study import FINISHED, SearchStudy


def known_costs(study: SearchStudy) -> list[str]:
    """The objectives whose values are known before training."""
    return [name for name in study.config.objectives.names if name in KNOWN]


def trial_curves(study: SearchStudy) -> dict[str, TrialCurve]:
    """What finished and stopped trials showed, by `arch_id`."""
    costs = known_costs(study)
    return {
        trial.user_attrs["arch_id"]: TrialCurve(
            tuple(float(trial.user_attrs[name]) for name in costs),
            shown,
        )
        for trial in study.study.get_trials(deepcopy=False, states=FINISHED)
        if "duplicate_of" not in trial.user_attrs and (shown := curve(trial))
    }
