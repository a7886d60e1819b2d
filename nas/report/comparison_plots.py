"""Retrained networks as a figure, a table and sentences."""

from __future__ import annotations

from html import escape
from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from nas.format import format_count, format_duration, format_number
from nas.models.reference import REFERENCES
from nas.report.class_tables import describe_classes
from nas.report.plots import BLUE, ORANGE, RED, TEAL, log_axis, styled
from nas.retrain.references import DCT_TWIN, EQUAL_COST_TWIN, SEARCHED, TABLE2, TWIN
from nas.study.objectives import OBJECTIVES

REFERENCE_SYMBOLS = ("triangle-up", "star", "cross", "pentagon", "hexagram", "bowtie")
LOOKS = {  # of a family: name in the legend, colour, symbol
    SEARCHED: ("searched", BLUE, "circle"),
    TWIN: ("pointwise twins", ORANGE, "square"),
    DCT_TWIN: ("DCT twins", BLUE, "square"),
    TABLE2: ("Table 2 of the paper", TEAL, "diamond"),
} | {
    name: (reference.label, RED, symbol)
    for (name, reference), symbol in zip(REFERENCES.items(), cycle(REFERENCE_SYMBOLS), strict=False)
}


def comparison_figure(summary: dict[str, Any], cost: str) -> go.Figure:
    """Test accuracy over a cost, with intervals where networks have several seeds."""
    figure = go.Figure()
    for family, (label, colour, symbol) in LOOKS.items():
        rows = [row for row in summary["networks"] if row["family"] == family]
        bars = [100 * _half_width(row) for row in rows]
        if not rows:
            continue
        figure.add_trace(
            go.Scatter(
                x=[row[cost] for row in rows],
                y=[100 * row["test_accuracy"] for row in rows],
                error_y={"array": bars, "thickness": 1.2, "width": 4} if any(bars) else None,
                mode="markers",
                name=label,
                marker={"color": colour, "symbol": symbol, "size": 10},
                text=[_hover(row) for row in rows],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    values = [float(row[cost]) for row in summary["networks"]]
    figure.update_xaxes(title_text=f"{OBJECTIVES[cost].axis}, log scale", **log_axis(values))
    figure.update_yaxes(title_text=f"{label_of_test(summary)} (%)")
    return styled(figure, height=420, showlegend=True)


def label_of_test(summary: dict[str, Any]) -> str:
    """What a person reads over the test accuracies of a retraining."""
    balanced = summary["recipe"].get("metric") == "balanced-accuracy"
    return "balanced test accuracy" if balanced else "test accuracy"


def comparison_rows(summary: dict[str, Any]) -> list[dict[str, str]]:
    """The table as text: a row for each network, those that are not compared last."""
    networks = [(row, _mark(row, summary)) for row in summary["networks"]]
    others = [
        (row, f"other recipe, {format_number(row['epochs'], 'epoch')}")
        for row in summary.get("other_recipes", [])
    ]
    aside = [(row, "replaced by a better training") for row in summary.get("set_aside", [])]
    return [
        {
            "network": row["name"],
            "family": LOOKS[row["family"]][0],
            "macs": format_count(row["macs"]),
            "params": format_count(row["params"]),
            "learning_rate": f"{row['learning_rate']:g}",
            "seeds": str(row["seeds"]),
            "test": _accuracy(row),
            "change": _change(row),
            "latency": f"{1e3 * row['latency']:.2f} ms" if row.get("latency") else "",
            "mark": mark,
        }
        for row, mark in [*networks, *others, *aside]
    ]


def describe_retraining(summary: dict[str, Any]) -> list[str]:
    """The results of a retraining in sentences, each with its uncertainty."""
    said = [*summary.get("notes", [])]
    short, noise = summary["short_schedule"], summary["noise"]
    percent = f"{summary['confidence']:.0%} intervals"
    if noise["source"] == "seeds":
        said.append(
            f"{percent} from the spread between seeds, pooled over networks: standard deviation "
            f"{100 * noise['sd']:.2f} points, "
            f"{format_number(noise['degrees_of_freedom'], 'degree')} of freedom."
        )
    else:
        said.append(
            "One seed each, so the noise of training is not known; that of the test set alone has "
            f"a standard deviation of {100 * noise['sd']:.2f} points. Retrain with --seeds 2 or "
            "more to measure both."
        )
    if any(_change(row) for row in summary["networks"]):
        said.append(
            f"Against the search: {label_of_test(summary)} after full training minus the search's "
            "estimate, which is of the validation split and the short schedule."
        )
    for teacher in dict.fromkeys(row.get("teacher") for row in summary["networks"]):
        if teacher is not None:
            taught = [row for row in summary["networks"] if row.get("teacher") == teacher]
            hours = sum(row["hours"] for row in taught)
            said.append(
                f"{format_number(len(taught), 'network')} learned from the logits of {teacher} and "
                f"the labels: {format_duration(3600 * hours)} of training, after "
                f"{format_duration(3600 * taught[0]['teacher_hours'])} for the teacher and its "
                "logits."
            )
    if any(row.get("latency") for row in summary["networks"]):
        said.append("Latency: one image on one thread of the processor.")
    said += describe_classes(summary)
    if short and short["ranks"]:
        kendall, spearman = short["ranks"]["kendall"], short["ranks"]["spearman"]
        said.append(
            f"Short against full accuracy of "
            f"{format_number(short['networks'], 'network')} of the front: "
            f"Kendall's tau {_interval(kendall)}, Spearman {_interval(spearman)} (bootstrap over "
            "networks). Along a front accuracy grows with cost, so cost alone would give a high "
            "rank correlation."
        )
    if short:
        said.append(
            f"{short['non_dominated']} of {short['networks']} stay non-dominated after full "
            f"training ({short['non_dominated_low']} to {short['non_dominated_high']} under the "
            "noise)."
        )
    searched = [row for row in summary["networks"] if row["family"] == SEARCHED]
    if any(row["not_told_apart_from"] for row in searched):
        said.append(
            "= marks members whose accuracy does not differ significantly from that of others "
            "(Tukey and Kramer, all pairs jointly); summary.json names them."
        )
    for row in summary["differences"]:
        low, high = 100 * row["low"], 100 * row["high"]
        said.append(
            f"{row['network']} against {row['reference']} ({row['macs_ratio']:.2f} times its "
            f"multiply-adds): {100 * row['difference']:+.2f} points ({low:+.2f} to {high:+.2f}), "
            f"{_verdict(low, high)}."
        )
    for row in summary.get("pooled", []):
        low, high = 100 * row["joint_low"], 100 * row["joint_high"]
        equal = " of equal cost" if row["reference"] == EQUAL_COST_TWIN else ""
        said.append(
            f"Pooled over the {format_number(row['pairs'], 'pair')} with "
            f"{LOOKS[row['family']][0]}{equal}: "
            f"{100 * row['difference']:+.2f} points ({low:+.2f} to {high:+.2f}, adjusted for "
            f"{format_number(summary['comparisons'], 'comparison')}, as the intervals above are "
            f"not), {_verdict(low, high)}."
        )
    if left_out := summary.get("left_out"):
        which = "; ".join(f"{one['folder']} ({one['why']})" for one in left_out)
        said.append(f"Not in the table: {which}.")
    return said


def _verdict(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "not significant"


def _accuracy(row: dict[str, Any]) -> str:
    """With the interval from the spread between seeds, or else from the number of test images."""
    interval = ""
    if row.get("interval"):
        interval = f" ± {100 * _half_width(row):.2f}"
    elif row.get("test_interval"):
        low, high = row["test_interval"]
        interval = f" ({100 * low:.1f}–{100 * high:.1f})"
    return f"{100 * row['test_accuracy']:.2f} %{interval}"


def _change(row: dict[str, Any]) -> str:
    """Points of test accuracy above the search's estimate; empty where the search has none."""
    estimate = row.get("estimate") or row["short_accuracy"]
    return "" if estimate is None else f"{100 * (row['test_accuracy'] - estimate):+.2f}"


def _half_width(row: dict[str, Any]) -> float:
    return (row["interval"][1] - row["interval"][0]) / 2 if row["interval"] else 0.0


def _mark(row: dict[str, Any], summary: dict[str, Any]) -> str:
    recipe = row.get("recipe", summary["recipe"]["name"])
    marks = []
    if recipe != summary["recipe"]["name"]:
        marks.append(f"recipe {recipe}, {format_number(row['epochs'], 'epoch')}")
    if row["family"] == SEARCHED:
        same = len(row["not_told_apart_from"])
        marks += [] if row["non_dominated"] else ["dominated"]
        marks += [f"= {format_number(same, 'other')}"] if same else []
        marks += [] if row.get("on_front", True) else ["no longer on the front"]
    return ", ".join(marks)


def _hover(row: dict[str, Any]) -> str:
    arch = "" if row["arch"] is None else "<br>" + escape(row["arch"]).replace(" | ", "<br>")
    return (
        f"<b>{escape(row['name'])}</b>{arch}<br>{_accuracy(row)} "
        f"({format_number(row['seeds'], 'seed')})<br>{OBJECTIVES['macs'].describe(row['macs'])}, "
        f"{OBJECTIVES['params'].describe(row['params'])}"
    )


def _interval(rank: dict[str, float]) -> str:
    return f"{rank['value']:.2f} ({rank['low']:.2f} to {rank['high']:.2f})"
