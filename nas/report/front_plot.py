"""The front of a study as a figure, with every trial."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas.format import format_number
from nas.report.analysis import StudyData, interval_text, table2_networks
from nas.report.plots import BLUE, GREY, INK, ORANGE, RED, log_axis, styled
from nas.study.objectives import OBJECTIVES, percent

ERROR_TICKS = (90, 70, 50, 40, 30, 20, 15, 10, 7, 5, 4, 3, 2, 1.5, 1, 0.7, 0.5, 0.3, 0.2, 0.1)
REFERENCE_REACH = 2.0  # Table 2 networks are drawn up to this many times the highest cost


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
    if cost == data.cost and len(data.config.objectives.names) == 2:
        figure.add_trace(_steps(front, cost))
    if data.modelled:
        marker = {"color": GREY, "size": 8, "symbol": "circle-open", "line": {"width": 1.5}}
        figure.add_trace(_points(front, cost, "front, as measured", marker))
    estimated = front.assign(accuracy=front["estimate"])
    figure.add_trace(_points(estimated, cost, "front", {"color": BLUE, "size": 9}, described=front))
    knee = front["knee"]
    marker = {"color": RED, "size": 15, "symbol": "star", "line": {"color": "#ffffff", "width": 1}}
    figure.add_trace(_points(estimated[knee], cost, "knee", marker, described=front[knee]))
    drawn = pd.concat([finished, stopped])
    rail = _rail(figure, data, cost, float(drawn[cost].max()) if len(drawn) else None)
    figure.update_yaxes(
        title_text=f"{data.accuracy_label} (%), log scale of the error",
        domain=[0.13, 1] if rail else [0, 1],
    )
    figure = styled(figure, height=520)
    intervals = _intervals(list(front["interval"]))
    figure.update_layout(yaxis=_accuracy_axis(figure, [end for ends in intervals for end in ends]))
    if intervals:
        trace = next(trace for trace in figure.data if trace.name == "front")
        pairs = list(zip(intervals, trace.y, strict=True))
        trace.error_y = {
            "array": [max(0.0, high - y) for (_, high), y in pairs],
            "arrayminus": [max(0.0, y - low) for (low, _), y in pairs],
            "color": "#8fb4dc",
            "thickness": 1,
            "width": 0,
        }
    figure.update_xaxes(
        title_text=f"{OBJECTIVES[cost].axis}, log scale", **log_axis(_values(figure, "x"))
    )
    if rail:
        figure.update_layout(
            yaxis2={"domain": [0, 0.08], "range": [0, 1], "visible": False, "fixedrange": True}
        )
        figure.update_xaxes(anchor="y2")
    return figure


def _steps(front: pd.DataFrame, cost: str) -> go.Scatter:
    """The line of the best estimate at each cost."""
    best = front[front["estimate"] > front["estimate"].cummax().shift(fill_value=-1.0)]
    return go.Scatter(
        x=best[cost].tolist(),
        y=_errors(best.assign(accuracy=best["estimate"])),
        customdata=best["number"].tolist(),
        mode="lines",
        name="best estimate",
        line={"color": BLUE, "width": 2, "shape": "hv"},
        showlegend=False,
        hoverinfo="skip",
    )


def _accuracy_axis(figure: go.Figure, ends: list[float]) -> dict[str, Any]:
    """A logarithmic axis of errors in per cent; errors of 0 are raised to be on it.

    Args:
        figure: its points are errors.
        ends: of intervals, in per cent, which are to be on the axis too.
    """
    traces = [trace for trace in figure.data if trace.yaxis != "y2"]
    errors = [error for trace in traces for error in trace.y] + ends
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


def _intervals(ends: list[tuple[float, float] | None]) -> list[tuple[float, float]]:
    """Intervals of errors in per cent from those of accuracies, where all are known."""
    known = [(100 * (1 - high), 100 * (1 - low)) for low, high in filter(None, ends)]
    return [(round(low, 3), round(high, 3)) for low, high in known]


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
                customdata=failed["number"].tolist(),
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
                hovertemplate="%{text}<br>Table 2 of the paper<extra></extra>",
            )
        )
    return any(trace.yaxis == "y2" for trace in figure.data)


def _points(
    trials: pd.DataFrame,
    cost: str,
    name: str,
    marker: dict[str, Any],
    described: pd.DataFrame | None = None,
) -> go.Scatter:
    """Markers of trials; `described` are the same trials as their hover labels tell them."""
    told = trials if described is None else described
    return go.Scatter(
        x=trials[cost].tolist(),
        y=_errors(trials),
        mode="markers",
        name=name,
        marker=marker,
        text=[describe_trial(row) for row in told.to_dict("records")],
        customdata=trials["number"].tolist(),
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
    if row["accuracy"] == row["accuracy"]:
        values[0] = f"{percent(row['accuracy'])} measured accuracy"
    if row["interval"]:
        values[:1] = [
            values[0],
            f"estimate {percent(row['estimate'])} ({interval_text(row['interval'])})",
        ]
    if row["front_probability"] == row["front_probability"]:
        values.append(f"on the front with probability {row['front_probability']:.0%}")
    if row["epochs"] == row["epochs"]:
        values.append(format_number(row["epochs"], "epoch"))
    return "<br>".join([_identity(row), *values])
