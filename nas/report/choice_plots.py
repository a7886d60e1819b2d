"""Figures of the choices of the space: on the front, and their effect at equal cost."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nas.format import format_number
from nas.report.analysis import StudyData, choice_label
from nas.report.effects import ALL_STAGES, Difference, Importance
from nas.report.narrative import points
from nas.report.plots import BLUE, GREY, INK, ORANGE, TEAL, styled
from nas.study.objectives import OBJECTIVES

MOST_COLUMNS = 40  # networks of the front that are drawn side by side

_WORDS = {"dct": "DCT", "pointwise": "1×1"}


def choices_figure(data: StudyData) -> go.Figure:
    """The value of each choice in each network of the front, cheapest first.

    The colour is the position of a value among the values of the choice; expansions have
    colours of their own.
    """
    front = data.front
    if len(front) > MOST_COLUMNS:
        kept = np.linspace(0, len(front) - 1, MOST_COLUMNS).round().astype(int)
        front = front.iloc[sorted(set(kept))]
    choices = [choice for choice in data.config.space.choices if len(choice.values) > 1][::-1]
    colours: list[list[float | None]] = []
    words: list[list[str]] = []
    for choice in choices:
        values = [None if value != value else value for value in front[choice.name]]
        words.append([_word(value) for value in values])
        colours.append([_colour(choice.values, value) for value in values])
    labels = [OBJECTIVES[data.cost].format(value) for value in front[data.cost]]
    figure = go.Figure(
        go.Heatmap(
            z=colours,
            x=list(range(len(front))),
            y=[choice_label(choice.name) for choice in choices],
            text=words,
            texttemplate="%{text}",
            customdata=[front["arch_id"].tolist()] * len(choices),
            hovertemplate="%{y}: %{text}<br>%{customdata}<extra></extra>",
            colorscale=_SCALE,
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    styled(figure, height=110 + 30 * len(choices), showlegend=False, dragmode=False)
    figure.update_xaxes(
        tickvals=list(range(len(front))),
        ticktext=labels,
        tickangle=-60,
        showgrid=False,
        ticks="",
        fixedrange=True,
    )
    figure.update_yaxes(showgrid=False, ticks="", linecolor="#ffffff", fixedrange=True)
    return figure


_SCALE = [
    [0.0, "#eaf2fa"],
    [0.8, "#5b9bd5"],  # numbers, small to large
    [0.801, "#bfe6da"],
    [0.9, "#bfe6da"],  # DCT
    [0.901, "#fbdcae"],
    [1.0, "#fbdcae"],  # pointwise
]


def _colour(values: tuple[Any, ...], value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        return 0.85 if value == "dct" else 0.95
    ordered = sorted(values)
    return float(0.8 * ordered.index(value) / max(1, len(ordered) - 1))


def _word(value: Any) -> str:
    if value is None:
        return ""
    return _WORDS.get(value, str(value)) if isinstance(value, str) else f"{value:g}"


def expansion_figure(data: StudyData, differences: list[Difference]) -> go.Figure:
    """Accuracy of DCT minus pointwise at equal cost, with intervals, by stage and cost."""
    figure = go.Figure()
    rows, ticks = [], []
    for d in differences:
        where = "all stages" if d.stage == ALL_STAGES else f"stage {d.stage}"
        low, high = (OBJECTIVES[data.cost].format(edge) for edge in (d.low, d.high))
        rows.append((d, where, f"{low} to {high}"))
        ticks.append(f"{where}<br><span style='font-size:11px'>{low} – {high}</span>")
    for sign, colour, name in (
        (1, TEAL, "DCT more accurate"),
        (-1, ORANGE, "pointwise more accurate"),
        (0, GREY, "not significant"),
    ):
        chosen = [(i, *row) for i, row in enumerate(rows) if row[0].sign == sign]
        if not chosen:
            continue
        figure.add_trace(
            go.Scatter(
                x=[100 * d.estimate for _, d, _, _ in chosen],
                y=[-i for i, *_ in chosen],
                error_x={
                    "type": "data",
                    "array": [100 * (d.upper - d.estimate) for _, d, _, _ in chosen],
                    "arrayminus": [100 * (d.estimate - d.lower) for _, d, _, _ in chosen],
                    "color": colour,
                    "thickness": 2,
                    "width": 5,
                },
                mode="markers",
                name=name,
                marker={"color": colour, "size": 10},
                text=[
                    f"<b>{where}</b>, {cost}<br>{points(d.estimate)} points "
                    f"({points(d.lower)} to {points(d.upper)})<br>"
                    f"{format_number(d.dct, 'network')} with DCT, {d.pointwise} with pointwise"
                    for _, d, where, cost in chosen
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title_text="accuracy of DCT minus pointwise (points)")
    styled(figure, height=130 + 40 * len(rows))
    figure.update_yaxes(
        tickvals=[-i for i in range(len(rows))], ticktext=ticks, range=[-len(rows) + 0.4, 0.6]
    )
    return figure


def importance_figure(weights: Importance) -> go.Figure:
    """Share of the variance of accuracy at given cost that each choice alone explains."""
    choices = weights.choices[::-1]
    hover = [
        f"<b>{escape(choice_label(choice.name))}</b><br>"
        "accuracy at equal cost, in points, with<br>"
        + "<br>".join(
            f"{escape(_WORDS.get(value, value))}: {points(effect)}"
            for value, effect in choice.effects.items()
        )
        for choice in choices
    ]
    figure = go.Figure(
        go.Bar(
            x=[100 * max(0.0, choice.share) for choice in choices],
            y=[choice_label(choice.name) for choice in choices],
            orientation="h",
            marker={"color": BLUE},
            error_x={
                "type": "data",
                "array": [100 * choice.spread for choice in choices],
                "color": GREY,
            },
            text=hover,
            textposition="none",
            hovertemplate="%{text}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="share of variance (%)", rangemode="tozero")
    return styled(figure, height=110 + 26 * len(choices), showlegend=False)
