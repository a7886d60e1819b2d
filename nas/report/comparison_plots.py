"""Retrained networks as a figure and a table."""

from __future__ import annotations

from html import escape
from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from nas.format import format_count, format_number
from nas.models.reference import REFERENCES
from nas.report.plots import BLUE, ORANGE, RED, TEAL, error_bars, log_axis, styled
from nas.retrain.references import DCT_TWIN, SEARCHED, TABLE2, TWIN
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
        if not rows:
            continue
        figure.add_trace(
            go.Scatter(
                x=[row[cost] for row in rows],
                y=[100 * row["test_accuracy"] for row in rows],
                error_y=error_bars(
                    [100 * row["test_accuracy"] for row in rows],
                    [[100 * end for end in row["interval"]] for row in rows],
                )
                if all(row["interval"] for row in rows)
                else None,
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
            "change": change_from_search(row),
            "latency": f"{1e3 * row['latency']:.2f} ms" if row.get("latency") else "",
            "mark": mark,
        }
        for row, mark in [*networks, *others, *aside]
    ]


def _accuracy(row: dict[str, Any]) -> str:
    """With the interval from the spread between seeds, or else from the number of test images."""
    text = f"{100 * row['test_accuracy']:.2f} %"
    if row.get("interval"):
        low, high = row["interval"]
        return f"{text} ({100 * low:.2f}–{100 * high:.2f})"
    if row.get("test_interval"):
        low, high = row["test_interval"]
        return f"{text} ({100 * low:.1f}–{100 * high:.1f})"
    return text


def change_from_search(row: dict[str, Any]) -> str:
    """Points of test accuracy above the search's estimate; empty where the search has none."""
    estimate = row.get("estimate") or row["short_accuracy"]
    return "" if estimate is None else f"{100 * (row['test_accuracy'] - estimate):+.2f}"


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
