"""What the Optuna dashboard shows of a study: metric names, notes, our figures."""

from __future__ import annotations

import re

import optuna
from optuna_dashboard import get_note, save_note, save_plotly_graph_object

from nas.format import format_count
from nas.report.analysis import StudyData, read_study
from nas.report.effects import compare_expansions, importance
from nas.report.narrative import describe_finding, percent
from nas.report.page import study_figures
from nas.space.arch import Arch
from nas.study.config import StudyConfig
from nas.study.front import FrontMember
from nas.study.objectives import COST_LABELS
from nas.study.storage.optuna_private import trial_handle, trials_with_notes

STUDY_HEADING = "# The finding"
TRIAL_HEADING = "### On the front"
LEFT_HEADING = "### Was on the front"
CARD_HEIGHT = 456  # pixels; the dashboard cuts off what is higher
OURS = (STUDY_HEADING, TRIAL_HEADING, LEFT_HEADING)
"""First lines of our notes; a note that starts otherwise is a user's and stays as it is."""


def annotate_study(study: optuna.Study, config: StudyConfig) -> None:
    """Write metric names, notes and figures into the study, for the dashboard.

    Written again, they replace what was written before; a note that a user wrote is kept.
    The caller holds the study's lock.
    """
    found = read_study(study, config)
    differences, weights = compare_expansions(found), importance(found)
    if study.metric_names is None:
        study.set_metric_names(list(config.objectives.names))
    finding = describe_finding(found, differences, weights)
    _note(study, _study_note(found, finding))
    members = {member.trial.number: member for member in found.members}
    for member in members.values():
        _note(trial_handle(study, member.trial.number), _trial_note(found, member))
    for number in trials_with_notes(study) - members.keys():
        _note(trial_handle(study, number), f"{LEFT_HEADING}\nA later trial dominates it.")
    for figure in study_figures(found, differences, weights):
        figure.figure.update_layout(
            title={"text": figure.title, "x": 0.01, "y": 0.91, "yanchor": "top"},
            margin={"t": 124 if len(figure.figure.data) > 4 else 100},  # a legend of two lines
            height=CARD_HEIGHT,
        )
        save_plotly_graph_object(study, figure.figure, graph_object_id=f"nas-{figure.id}")


def _note(where: optuna.Study | optuna.Trial, body: str) -> None:
    old = get_note(where)
    if old != body and (not old or old.startswith(OURS)):
        save_note(where, body)


def _study_note(found: StudyData, finding: list[str]) -> str:
    config, data = found.config, found.config.dataset
    sentences = "\n\n".join(_markdown(sentence) for sentence in finding)
    costs = ", ".join(f"`{name}`: {label}" for name, label in COST_LABELS.items())
    return (
        f"{STUDY_HEADING}\n{sentences}\n\n"
        "# The study\n"
        f"- data: {_markdown(data.name)}, {data.image_size}×{data.image_size}×{data.in_channels}, "
        f"{data.num_classes} classes\n"
        f"- space: {_markdown(config.space.name)}, {config.space.distinct_size:,} architectures\n"
        f"- recipe: {_markdown(config.recipe.name)}, {config.recipe.epochs} epochs\n"
        f"- objectives: {', '.join(config.objectives.names)} ({costs})\n\n"
        "Trials: COMPLETE finished the whole schedule, PRUNED were stopped early and are never on "
        "the front, FAIL has its `reason` among the user attributes. Our figures are on the "
        "study's first page, below the timeline."
    )


def _trial_note(found: StudyData, member: FrontMember) -> str:
    attributes = member.attributes
    arch = Arch.from_dict(attributes["arch"])
    rows = "\n".join(
        f"| {i} | {s.repeats} | {s.width} | {s.stride} | {s.expansion} | {s.p} | "
        f"{'' if s.hidden is None else s.hidden} |"
        for i, s in enumerate(arch.stages, 1)
    )
    return (
        f"{TRIAL_HEADING}\n`{attributes['arch_id']}`"
        + (", the **knee**: the front's best compromise" if member.knee else "")
        + f"\n\n{_why(found, member)}\n\n"
        f"- accuracy {percent(attributes['accuracy'])} on the validation split\n"
        f"- {format_count(attributes['macs'])} {COST_LABELS['macs']}\n"
        f"- {format_count(attributes['params'])} parameters\n\n"
        f"Stem of {arch.stem} channels, then\n\n"
        "| stage | repeats | width | stride | expansion | p | hidden |\n"
        "|---|---|---|---|---|---|---|\n" + rows
    )


def _why(found: StudyData, member: FrontMember) -> str:
    """Why a trial is on the front: what its neighbours are worth."""
    front, name = found.front, found.cost
    position = list(front["number"]).index(member.trial.number)
    row = front.iloc[position]
    parts = []
    if position > 0:
        before = front.iloc[position - 1]
        parts.append(
            f"{100 * (row['accuracy'] - before['accuracy']):+.2f} points for "
            f"{row[name] / before[name]:.2f} times the cost of `{before['arch_id']}` (trial "
            f"{before['number']})"
        )
    else:
        parts.append("nothing cheaper was trained to the end")
    if position == len(front) - 1:
        parts.append("nothing dearer was better")
    return f"Why: {'; '.join(parts)}."


def _markdown(text: str) -> str:
    """A name without what Markdown or HTML would take for markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)
