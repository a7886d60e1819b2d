"""The look of figures, a log axis, the progress of a search, learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nas.format import format_count
from nas.report.analysis import StudyData
from nas.study.objectives import OBJECTIVES

BLUE, TEAL, ORANGE, RED, GREY = "#0b5cad", "#00876c", "#d98200", "#c8372d", "#9aa9b8"
INK, GRID = "#1d2733", "#e4e9ee"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"

MOST_CURVES = 200  # learning curves that are drawn in grey, taken evenly from all


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
        hoverlabel={
            "bgcolor": "#ffffff",
            "bordercolor": GREY,
            "align": "left",
            "font": {"family": FONT, "size": 13, "color": INK},
        },
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
    figure.update_yaxes(title_text=f"{data.accuracy_label} (%)")
    return styled(figure, height=400)


def _blend(share: float) -> str:
    """From light blue (lowest cost) to dark blue (highest)."""
    light, dark = (110, 190, 235), (8, 48, 107)
    mixed = (round(a + (b - a) * share) for a, b in zip(light, dark, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def error_bars(values: Sequence[float], intervals: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Plotly's bars from values to the ends of their intervals."""
    return {
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, intervals, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, intervals, strict=True)],
        "thickness": 1.4,
        "width": 4,
    }
