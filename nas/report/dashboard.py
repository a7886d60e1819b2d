"""What the Optuna dashboard shows of a study: names of objectives, notes and figures."""

from __future__ import annotations

import re
from typing import Any

import optuna
from optuna_dashboard import get_note, save_note, save_plotly_graph_object

from nas.format import format_number
from nas.report.analysis import StudyData, interval_text
from nas.report.class_tables import ClassTable, class_tables
from nas.report.comparison_plots import comparison_rows, label_of_test
from nas.report.comparison_sentences import describe_retraining
from nas.report.effects import compare_expansions, importance
from nas.report.figures import study_figures
from nas.report.narrative import describe_finding
from nas.report.page import GLOSSARY
from nas.retrain.next_steps import next_steps
from nas.space.arch import Arch
from nas.study.estimate import Estimate
from nas.study.front import FrontMember
from nas.study.objectives import OBJECTIVES, costs, percent
from nas.study.storage.optuna_private import trial_handle, trials_with_notes

STUDY_HEADING = "# The finding"
TRIAL_HEADING = "### On the front"
LEFT_HEADING = "### Was on the front"
CARD_HEIGHT = 456  # pixels; the dashboard cuts off higher figures
OURS = (STUDY_HEADING, TRIAL_HEADING, LEFT_HEADING)
"""First lines of the notes written here; any other note is a user's and stays as it is."""


def annotate_study(
    study: optuna.Study, data: StudyData, retrained: dict[str, Any] | None = None
) -> None:
    """Write names of objectives, notes and figures into the study, for the dashboard.

    Args:
        study: gets them.
        data: the same study as it was read.
        retrained: summary of the retrained networks, where there are some.

    They replace those of an earlier call; a note that a user wrote is kept. The caller holds
    the study's lock.
    """
    differences, weights = compare_expansions(data), importance(data)
    if study.metric_names is None:
        study.set_metric_names(list(data.config.objectives.names))
    finding = describe_finding(data, differences, weights)
    _note(study, _study_note(data, finding, retrained))
    members = {member.trial.number: member for member in data.members}
    for member in members.values():
        _note(trial_handle(study, member.trial.number), _trial_note(data, member))
    for number in trials_with_notes(study) - members.keys():
        _note(trial_handle(study, number), f"{LEFT_HEADING}\nLater trials moved the front.")
    for figure in study_figures(data, differences, weights, retrained):
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


def _study_note(data: StudyData, finding: list[str], retrained: dict[str, Any] | None) -> str:
    config, dataset = data.config, data.config.dataset
    sentences = "\n\n".join(_markdown(sentence) for sentence in finding)
    labels = ", ".join(f"`{name}`: {one.axis}" for name, one in OBJECTIVES.items())
    labels = labels.replace("`accuracy`: accuracy", f"`accuracy`: {data.accuracy_label}")
    counts = ", ".join(f"{count} {state}" for state, count in data.counts.items())
    return (
        f"{STUDY_HEADING}\n{sentences}\n\n{_retraining(retrained)}"
        "# The study\n"
        f"- data: {_markdown(dataset.name)}, "
        f"{dataset.image_size}×{dataset.image_size}×{dataset.in_channels}"
        f"{config.recipe.size_note(dataset.image_size)}, "
        f"{format_number(dataset.num_classes, 'class', 'classes')}\n"
        f"- space: {_markdown(config.space.name)}, "
        f"{format_number(config.space.distinct_size, 'architecture')}\n"
        f"- recipe: {_markdown(config.recipe.name)}, "
        f"{format_number(config.recipe.epochs, 'epoch')}\n"
        f"- objectives: {', '.join(config.objectives.names)} ({labels})\n"
        f"- trials: {counts}\n\n"
        "COMPLETE trials are finished: trained for the whole schedule. PRUNED ones were stopped "
        "early and are never on the front. FAIL ones have their `reason` among the user "
        "attributes: `interrupted` ones were given up and queued again. The study's first page "
        "has further figures below the timeline.\n\n"
        f"{GLOSSARY}"
    )


def _retraining(summary: dict[str, Any] | None) -> str:
    """The table of retrained networks and what it says; empty where there is none."""
    if summary is None:
        return ""
    keys = ["network", "family", "macs", "params", "learning_rate", "seeds", "test"]
    keys += ["change", "latency", "mark"]
    heads = f"network | family | {OBJECTIVES['macs'].label} | parameters | learning rate | seeds"
    heads += f" | {label_of_test(summary)} | against the search, points | latency | "
    rows = [
        "| " + " | ".join(_markdown(row[key]) for key in keys) + " |\n"
        for row in comparison_rows(summary)
    ]
    sentences = "\n\n".join(map(_markdown, describe_retraining(summary)))
    return (
        f"# After full training\n| {heads}|\n{'|---' * len(keys)}|\n"
        f"{''.join(rows)}\n{sentences}\n\n"
        + "".join(_classes(table) for table in class_tables(summary)[-1:])
        + "".join(f"- {word}: `{line}`\n" for word, line in next_steps(summary))
        + "\n"
    )


def _classes(table: ClassTable) -> str:
    """The confusion matrix of one network, in per cent of a class's images."""
    names = " | ".join(_markdown(row.name) for row in table.rows)
    lines = [
        f"| {_markdown(row.name)} | "
        f"{'' if row.accuracy is None else percent(row.accuracy)} | "
        + " | ".join(f"{100 * share:.0f}" if share else "" for share in row.shares)
        + " |\n"
        for row in table.rows
    ]
    return (
        f"Test images of `{table.network}` by class, and the share in per cent that is taken for "
        f"each class:\n\n| class | accuracy | {names} |\n{'|---' * (2 + len(table.rows))}|\n"
        + "".join(lines)
        + "\n"
    )


def _trial_note(data: StudyData, member: FrontMember) -> str:
    attributes = member.attributes
    arch = Arch.from_dict(attributes["arch"])
    rows = "\n".join(
        f"| {i} | {s.repeats} | {s.width} | {s.stride} | {s.expansion} | {s.p} | "
        f"{'' if s.hidden is None else s.hidden} |"
        for i, s in enumerate(arch.stages, 1)
    )
    return (
        f"{TRIAL_HEADING}\n`{attributes['arch_id']}`"
        + (", the **knee**: the member at the end of the last steep step" if member.knee else "")
        + f"\n\n{_why(data, member)}\n\n"
        f"- {percent(attributes['accuracy'])} {data.accuracy_label} on the validation split, "
        "as measured\n"
        + _estimate_lines(member.estimate)
        + "".join(
            f"- {OBJECTIVES[name].describe(attributes[name])}\n"
            for name in costs()
            if attributes.get(name) is not None
        )
        + f"\nStem of {format_number(arch.stem, 'channel')}, then\n\n"
        "| stage | repeats | width | stride | expansion | p | hidden |\n"
        "|---|---|---|---|---|---|---|\n" + rows + f"\n\n{GLOSSARY}"
    )


def _estimate_lines(estimate: Estimate | None) -> str:
    """What is known of a member's accuracy besides its measurement."""
    if estimate is None or estimate.interval is None or estimate.on_front is None:
        return ""
    interval = interval_text(estimate.interval)
    first = (
        f"{percent(estimate.accuracy)} estimated from all trials, which corrects for the "
        f"selection of high measurements; 95 % interval {interval}"
        if estimate.modelled
        else f"95 % interval from binomial noise {interval}: too few trials for an estimate"
    )
    return f"- {first}\n- on the front with a probability of {estimate.on_front:.0%}\n"


def _why(data: StudyData, member: FrontMember) -> str:
    """Why a trial is on the front: its gain over the next cheaper member."""
    front, name = data.front, data.cost
    position = list(front["number"]).index(member.trial.number)
    row = front.iloc[position]
    parts = []
    if position > 0:
        before = front.iloc[position - 1]
        parts.append(
            f"{100 * (row['estimate'] - before['estimate']):+.2f} points (estimates) for "
            f"{row[name] / before[name]:.2f} times the cost of `{before['arch_id']}` (trial "
            f"{before['number']})"
        )
    else:
        parts.append("no cheaper network was trained to the end")
    if position == len(front) - 1:
        parts.append("no network of higher cost is on the front")
    return f"Why: {'; '.join(parts)}."


def _markdown(text: str) -> str:
    """A text with the characters escaped that Markdown or HTML would take for markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)
