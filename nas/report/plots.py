"""Figures of a study: the front, the progress of the search, learning curves."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas.format import format_count
from nas.report.analysis import StudyData, table2_networks
from nas.study.objectives import OBJECTIVES

BLUE, TEAL, ORANGE, RED, GREY = "#0b5cad", "#00876c", "#d98200", "#c8372d", "#9aa9b8"
INK, GRID = "#1d2733", "#e4e9ee"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"

ERROR_TICKS = (90, 70, 50, 40, 30, 20, 15, 10, 7, 5, 4, 3, 2, 1.5, 1, 0.7, 0.5, 0.3, 0.2, 0.1)
MOST_CURVES = 200  # learning curves that are drawn in grey, taken evenly from all
REFERENCE_REACH = 2.0  # Table 2 networks are drawn up to this many times the highest cost


def styled(figure: go.Figure, *, height: int = 420, **layout: Any) -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        margin={"l": 56, "r": 16, "t": 12, "b": 56},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"bgcolor": "#ffffff", "bordercolor": GREY, "align": "left"},
        hovermode="closest",
    )
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
        "ticklen": 4,
        "automargin": True,
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure.update_layout(**layout)


def front_figure(data: StudyData, cost: str | None = None) -> go.Figure:
    """Accuracy over a cost: every trial with its architecture on hover, and the front.

    The vertical axis is the logarithm of the error, labelled with the accuracy: from 97 to
    98 % it is as long as from 55 to 70 %.
    """
    cost = cost or data.cost
    figure = go.Figure()
    finished = data.finished
    front = data.front if data.members else finished.iloc[:0]
    others = finished[~finished["on_front"]]
    stopped = data.of_state("stopped").dropna(subset=["accuracy", cost])
    figure.add_trace(_points(others, cost, "finished", {"color": GREY, "size": 7, "opacity": 0.75}))
    if len(stopped):
        marker = {"color": ORANGE, "size": 7, "symbol": "x-thin-open", "line": {"width": 1.5}}
        figure.add_trace(_points(stopped, cost, "stopped", marker))
    front = front.sort_values(cost)
    line = {"color": BLUE, "width": 2, "shape": "hv"}
    trace = _points(front, cost, "front", {"color": BLUE, "size": 9})
    if cost == data.cost and len(data.config.objectives.names) == 2:
        trace.update(mode="lines+markers", line=line)
    figure.add_trace(trace)
    knee = front[front["knee"]]
    figure.add_trace(
        _points(
            knee,
            cost,
            "knee",
            {"color": RED, "size": 15, "symbol": "star", "line": {"color": "#ffffff", "width": 1}},
        )
    )
    drawn = pd.concat([finished, stopped])
    rail = _rail(figure, data, cost, float(drawn[cost].max()) if len(drawn) else None)
    figure.update_yaxes(
        title_text="accuracy (%), logarithm of the error", domain=[0.13, 1] if rail else [0, 1]
    )
    figure = styled(figure, height=520)
    figure.update_layout(yaxis=_accuracy_axis(figure))
    figure.update_xaxes(title_text=OBJECTIVES[cost].axis, **log_axis(_values(figure, "x")))
    if rail:
        figure.update_layout(
            yaxis2={"domain": [0, 0.08], "range": [0, 1], "visible": False, "fixedrange": True}
        )
        figure.update_xaxes(anchor="y2")
    return figure


def _accuracy_axis(figure: go.Figure) -> dict[str, Any]:
    """A logarithmic axis of errors in per cent; errors of 0 are raised to be on it."""
    traces = [trace for trace in figure.data if trace.yaxis != "y2"]
    errors = [error for trace in traces for error in trace.y]
    least = min((error for error in errors if error > 0), default=1.0) / 2
    for trace in traces:
        trace.y = [max(error, least) for error in trace.y]
    low, high = max(min(errors, default=1.0), least) / 1.15, max(errors, default=100.0) * 1.15
    ticks = [tick for tick in ERROR_TICKS if low <= tick <= high]
    return {
        "type": "log",
        "range": [float(np.log10(high)), float(np.log10(low))],
        "tickvals": ticks,
        "ticktext": [f"{100 - tick:g}" for tick in ticks],
    }


def _values(figure: go.Figure, axis: str) -> list[float]:
    return [float(v) for trace in figure.data for v in trace[axis] if v is not None and v > 0]


def _rail(figure: go.Figure, data: StudyData, cost: str, highest: float | None) -> bool:
    """Draw what has a cost but no accuracy below the plot: failed trials, Table 2's networks."""
    failed = data.of_state("failed").dropna(subset=[cost])
    known = OBJECTIVES[cost].known is not None
    references = table2_networks(data) if known else pd.DataFrame()
    if len(references) and highest is not None:
        references = references[references[cost] <= REFERENCE_REACH * highest]
    if len(failed):
        figure.add_trace(
            go.Scatter(
                x=failed[cost].tolist(),
                y=[0.8] * len(failed),
                yaxis="y2",
                mode="markers",
                name="failed",
                marker={"color": RED, "size": 7, "symbol": "x"},
                text=[
                    f"{_identity(row)}<br>failed: {escape(str(row['reason']))}"
                    for _, row in failed.iterrows()
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for trained, group in references.groupby(
        references["accuracy"].notna() if len(references) else []
    ):
        figure.add_trace(
            go.Scatter(
                x=group[cost].tolist(),
                y=_errors(group) if trained else [0.3] * len(group),
                yaxis="y" if trained else "y2",
                mode="markers",
                name="Table 2" if trained else "Table 2 (cost only)",
                marker={
                    "color": "#ffffff",
                    "size": 10,
                    "symbol": "diamond" if trained else "triangle-up",
                    "line": {"color": INK, "width": 1.5},
                },
                text=[
                    f"<b>{escape(row['name'])}</b><br>{OBJECTIVES[cost].describe(row[cost])}"
                    + ("" if trained else "<br>not trained in this study")
                    for _, row in group.iterrows()
                ],
                hovertemplate="%{text}<extra>Table 2 of the paper</extra>",
            )
        )
    return any(trace.yaxis == "y2" for trace in figure.data)


def _points(trials: pd.DataFrame, cost: str, name: str, marker: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=trials[cost].tolist(),
        y=_errors(trials),
        mode="markers",
        name=name,
        marker=marker,
        text=[describe_trial(row) for row in trials.to_dict("records")],
        customdata=trials["arch_id"].tolist(),
        hovertemplate="%{text}<extra></extra>",
    )


def _errors(trials: pd.DataFrame) -> list[float]:
    """Errors in per cent, for `_accuracy_axis`."""
    errors: list[float] = (100 * (1 - trials["accuracy"])).round(4).tolist()
    return errors


def _identity(row: Any) -> str:
    arch = "" if row["arch"] is None else "<br>" + escape(str(row["arch"])).replace(" | ", "<br>")
    return f"<b>{escape(str(row['arch_id']))}</b> trial {row['number']}{arch}"


def describe_trial(row: Any) -> str:
    """A trial in a few lines for a hover label: identity, architecture, result."""
    values = [o.describe(row[name]) for name, o in OBJECTIVES.items() if row[name] == row[name]]
    return "<br>".join([_identity(row), *values, f"{row['epochs']:.0f} epochs"])


def log_axis(values: list[float]) -> dict[str, Any]:
    """A logarithmic axis with ticks at 1, 2, 5 of each decade, labelled in full."""
    if not values:
        return {"type": "log"}
    low, high = min(values) / 1.12, max(values) * 1.12
    digits = (1, 2, 5) if high / low < 3000 else (1,)
    if high / low < 4:
        digits = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)  # type: ignore[assignment]
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [d * 10.0**k for k in decades for d in digits if low <= d * 10.0**k <= high]
    labels = [format_count(t) if t >= 1 else f"{t:g}" for t in ticks]
    return {
        "type": "log",
        "range": [float(np.log10(low)), float(np.log10(high))],
        "tickvals": ticks,
        "ticktext": labels,
    }


def hypervolume_figure(data: StudyData, over: str = "trial") -> go.Figure:
    """Hypervolume over `trial` (finished and stopped ones) or over `hours`."""
    table = data.hypervolume
    x, label = table[over], "trials"
    if over == "hours":
        label, factor = "hours", 1.0
        if len(x) and x.max() < 2:
            label, factor = ("minutes", 60.0) if x.max() > 2 / 60 else ("seconds", 3600.0)
        x = x * factor
    figure = go.Figure(
        go.Scatter(
            x=x.round(4).tolist(),
            y=table["hypervolume"].round(5).tolist(),
            mode="lines",
            line={"color": BLUE, "width": 2, "shape": "hv"},
            hovertemplate="%{y:.4f} after %{x:.4g} " + label + "<extra></extra>",
        )
    )
    figure.update_xaxes(title_text=label, rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume")
    return styled(figure, height=320, showlegend=False)


def curves_figure(data: StudyData) -> go.Figure:
    """Accuracy over epochs: the front's networks coloured by cost, the others in grey behind."""
    figure = go.Figure()
    others = data.trials[
        data.trials["state"].isin(["finished", "stopped"]) & ~data.trials["on_front"]
    ]
    step = max(1, -(-len(others) // MOST_CURVES))
    for state, colour in (("finished", "#cfd8e0"), ("stopped", "#f0c98a")):
        curves = [curve for curve in others[others["state"] == state]["curve"][::step] if curve]
        if curves:
            x = [epoch for curve in curves for epoch in [*(p[0] for p in curve), None]]
            y = [v for curve in curves for v in [*(round(100 * p[1], 3) for p in curve), None]]
            name = "other finished" if state == "finished" else "stopped"
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=y,
                    mode="lines",
                    name=name,
                    hoverinfo="skip",
                    line={"color": colour, "width": 1},
                )
            )
    members = data.front.to_dict("records") if data.members else []
    for position, row in enumerate(members):
        share = position / max(1, len(members) - 1)
        figure.add_trace(
            go.Scatter(
                x=[p[0] for p in row["curve"]],
                y=[round(100 * p[1], 3) for p in row["curve"]],
                mode="lines+markers",
                name="front, low to high cost",
                legendgroup="front",
                showlegend=position == len(members) // 2,
                line={"color": _blend(share), "width": 2},
                marker={"size": 5},
                hovertemplate=f"<b>{escape(row['arch_id'])}</b><br>%{{y:.2f}} % after %{{x}} epochs"
                f"<br>{OBJECTIVES[data.cost].describe(row[data.cost])}<extra></extra>",
            )
        )
    epochs = data.config.recipe.epochs
    figure.update_xaxes(title_text="epochs", range=[0, epochs * 1.04])
    if epochs <= 12:
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(title_text="accuracy (%)")
    return styled(figure, height=400)


def _blend(share: float) -> str:
    """From light blue (lowest cost) to dark blue (highest)."""
    light, dark = (110, 190, 235), (8, 48, 107)
    mixed = (round(a + (b - a) * share) for a, b in zip(light, dark, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
