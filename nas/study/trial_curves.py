"""The learning curves of a study's trials, as the rule for stopping early takes them."""

from __future__ import annotations

from nas.samplers.history import curve
from nas.space.cost import Cost
from nas.stopping.rule import TrialCurve
from nas.study.objectives import known_values
from nas.study.study import ENDED, SearchStudy


def known_costs(study: SearchStudy, cost: Cost) -> tuple[float, ...]:
    """The values of the study's objectives that follow from an architecture's cost."""
    values = known_values(cost)
    return tuple(float(values[name]) for name in study.config.objectives.known_names)


def trial_curves(study: SearchStudy) -> dict[str, TrialCurve]:
    """The curves of finished and stopped trials, by `arch_id`."""
    costs = study.config.objectives.known_names
    return {
        trial.user_attrs["arch_id"]: TrialCurve(
            tuple(float(trial.user_attrs[name]) for name in costs),
            points,
            tuple(trial.user_attrs.get("losses") or ()),
        )
        for trial in study.study.get_trials(deepcopy=False, states=ENDED)
        if "duplicate_of" not in trial.user_attrs and (points := curve(trial))
    }
