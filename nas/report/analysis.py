"""A study as a table: its trials, their results and the choices that made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from nas.report.objective_scale import ObjectiveScale
from nas.space.arch import Arch, table2_arch
from nas.space.cost import cost
from nas.study.config import StudyConfig
from nas.study.estimate import Estimate
from nas.study.front import FrontMember, front_of_trials, validation_images
from nas.study.objectives import OBJECTIVES, known_values
from nas.study.trial_state import STATES, trial_state

TABLE2 = ((0.5, 2, 4), (1.0, 2, 4), (1.0, 4, 4), (1.0, 8, 4), (2.0, 8, 2))
"""(alpha, p, r) of the paper's networks that a front is compared with."""


@dataclass(frozen=True)
class StudyData:
    """A study as it was read once; everything in a report is computed from it."""

    name: str  # of the study
    config: StudyConfig
    trials: pd.DataFrame  # a row per trial that has an architecture; see `read_study`
    counts: dict[str, int]  # all trials by state, in the order of `STATES`
    members: list[FrontMember]  # of the front, cheapest first
    estimates: dict[int, Estimate]  # of the finished trials, by number
    attributes: dict[str, Any]  # of the study

    @property
    def cost(self) -> str:
        """The cost that figures are drawn over."""
        return self.config.objectives.main_cost

    @property
    def accuracy_label(self) -> str:
        """What a person reads over accuracies."""
        return self.config.accuracy_label

    @property
    def finished(self) -> pd.DataFrame:
        """Trials that were trained to the end, each architecture once."""
        return self.trials[self.trials["state"] == "finished"]

    @property
    def modelled(self) -> bool:
        """Whether the estimates use all trials; if not, they are the measurements."""
        return any(estimate.modelled for estimate in self.estimates.values())

    def of_state(self, state: str) -> pd.DataFrame:
        """Trials that are in one of the states of `nas.study.trial_state`."""
        return self.trials[self.trials["state"] == state]

    @cached_property
    def hypervolume(self) -> pd.DataFrame:
        """See `hypervolume_table`."""
        return hypervolume_table(self)

    @property
    def front(self) -> pd.DataFrame:
        """The front's trials, cheapest first."""
        return self.trials.loc[[member.trial.number for member in self.members]]


def interval_text(ends: tuple[float, float]) -> str:
    """An interval of accuracies in per cent."""
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def choice_label(name: str) -> str:
    """`stage2.p` as `stage 2: p`, `alpha` as `width multiplier`."""
    if name == "alpha":
        return "width multiplier"
    stage, _, what = name.partition(".")
    return f"stage {stage.removeprefix('stage')}: {what}" if what else name


COLUMNS = (
    "number", "state", "arch_id", "arch", "epochs", "seconds", "curve", "reason", "duplicate_of",
    "started", "ended", "on_front", "knee", "estimate", "interval", "front_probability",
)  # fmt: skip


def read_study(study: optuna.Study, config: StudyConfig) -> StudyData:
    """Read a study once; see `read_trials`."""
    trials = study.get_trials(deepcopy=False)
    return read_trials(study.study_name, config, trials, study.user_attrs)


def read_trials(
    name: str, config: StudyConfig, trials: Sequence[FrozenTrial], attributes: dict[str, Any]
) -> StudyData:
    """A study's trials as a table.

    The table is indexed by the trial's number and has the columns `COLUMNS`, one for each of
    `OBJECTIVES` and one for each choice of the space, None where the choice has no effect.
    `state` is one of `nas.study.trial_state.STATES`; `on_front` says whether a trial is given as
    a member of the front; `estimate`, `interval` and `front_probability` are those of its
    `Estimate`; `started` and `ended` are in UTC.

    Args:
        name: of the study.
        config: of the study.
        trials: of the study.
        attributes: of the study.
    """
    members, estimates = front_of_trials(trials, config, validation_images(attributes))
    best = {member.trial.number: member.knee for member in members}
    rows = [
        _row(trial, config)
        | {"on_front": trial.number in best, "knee": best.get(trial.number)}
        | _estimate(estimates.get(trial.number))
        for trial in trials
        if "arch_id" in trial.user_attrs
    ]
    choices = [choice.name for choice in config.space.choices]
    # As objects: a column of integers with gaps would turn into floats.
    table = pd.DataFrame(rows, columns=[*COLUMNS, *OBJECTIVES, *choices], dtype=object)
    numeric = [*OBJECTIVES, "epochs", "seconds", "estimate", "front_probability"]
    table[numeric] = table[numeric].astype(float)
    table[["started", "ended"]] = table[["started", "ended"]].apply(pd.to_datetime)
    table["number"] = table["number"].astype(int)
    table[["on_front", "knee"]] = table[["on_front", "knee"]].eq(True)
    counted = Counter(map(trial_state, trials))
    return StudyData(
        name,
        config,
        table.set_index("number", drop=False),
        {state: counted[state] for state in STATES if counted[state]},
        members,
        estimates,
        attributes,
    )


def _estimate(estimate: Estimate | None) -> dict[str, Any]:
    return {
        "estimate": estimate and estimate.accuracy,
        "interval": estimate and estimate.interval,
        "front_probability": estimate and estimate.on_front,
    }


def _row(trial: FrozenTrial, config: StudyConfig) -> dict[str, Any]:
    attributes = trial.user_attrs
    names = (*OBJECTIVES, "arch_id", "epochs", "seconds", "reason", "duplicate_of")
    row = {name: attributes.get(name) for name in names}
    row |= {
        "number": trial.number,
        "state": trial_state(trial),
        "arch": Arch.from_dict(attributes["arch"]) if "arch" in attributes else None,
        "curve": attributes.get("curve", []),
        "started": _utc(trial.datetime_start),
        "ended": _utc(trial.datetime_complete),
    }
    setting: dict[str, Any] = {}
    for choice in config.space.choices:
        if choice.active(setting):
            single = choice.values[0] if len(choice.values) == 1 else None
            setting[choice.name] = trial.params.get(choice.name, single)
    return row | setting


def _utc(time: datetime | None) -> datetime | None:
    """A local time, as Optuna has it, in UTC, where differences are what passed."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def hypervolume_table(data: StudyData) -> pd.DataFrame:
    """Hypervolume after each finished trial in the order in which they ended.

    Columns: `trial` (how many were finished or stopped by then), `hours` (since the start,
    without pauses between two runs of the program), `hypervolume`.
    """
    done = data.trials[data.trials["state"].isin(["finished", "stopped"])]
    done = done.sort_values("ended", kind="stable")
    scale = ObjectiveScale(data.config)
    tracker, names = scale.tracker(), data.config.objectives.names
    rows, hours = [], _hours(done)
    for position, (_, trial) in enumerate(done.iterrows()):
        if trial["state"] == "finished":
            tracker.add(scale.point({name: trial[name] for name in names}))
        rows.append((position + 1, hours[position], tracker.volume))
    return pd.DataFrame(rows, columns=["trial", "hours", "hypervolume"])


def _hours(done: pd.DataFrame) -> list[float]:
    """Hours until each trial ended, without the time in which no trial was running."""
    hours, clock, until = [], 0.0, None
    spans = list(zip(done["started"], done["ended"], strict=True))
    earliest = None
    # Backwards: the earliest start among this trial and those that ended later.
    starts = []
    for start, _ in reversed(spans):
        earliest = start if earliest is None else min(earliest, start)
        starts.append(earliest)
    for (_, end), start in zip(spans, reversed(starts), strict=True):
        begin = start if until is None else max(until, start)
        clock += max(0.0, (end - begin).total_seconds()) / 3600
        until = end
        hours.append(clock)
    return hours


def table2_networks(data: StudyData) -> pd.DataFrame:
    """The paper's Table 2 networks: name, cost, and accuracy where the study trained them."""
    dataset = data.config.dataset
    trained = data.finished.drop_duplicates("arch_id").set_index("arch_id")["accuracy"]
    rows = []
    for alpha, p, r in TABLE2:
        arch = table2_arch(alpha, p, r)
        counted = cost(arch, dataset.image_size, dataset.in_channels, dataset.num_classes)
        rows.append(
            {
                "name": f"DyClotNet-{alpha:g}, p = {p}, r = {r}",
                "arch_id": arch.arch_id,
                **known_values(counted),
                "accuracy": trained.get(arch.arch_id),
            }
        )
    return pd.DataFrame(rows)
