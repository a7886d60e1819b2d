"""The figure of the reference run: test error over multiply-adds and over parameters.

Run as `python -m benchmarks.docs_tables.reference_figure FILE.html`; `comparison.png` beside the
summary is a browser's picture of that page.
"""

from __future__ import annotations

import sys
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.docs_tables.markdown import REFERENCE, read
from benchmarks.docs_tables.reference import reference_noise_of_seeds
from nas.report.plots import BLUE, ORANGE, error_bars, log_axis, styled
from nas.study.objectives import OBJECTIVES

COSTS = ("macs", "params")
TICKS = (8, 10, 15, 20, 25)  # percent
# Folder of the retraining and family of networks: name, colour and symbol.
GROUPS = {
    ("retrained", "searched"): ("found by the search", BLUE, "circle"),
    ("retrained", "twin"): ("their pointwise twins", ORANGE, "square"),
    ("pointwise/retrained", "searched"): ("found without DCT", ORANGE, "circle-open"),
    ("pointwise/retrained", "dct-twin"): ("their DCT twins", BLUE, "square-open"),
}


def figure() -> go.Figure:
    """Means over seeds, with 95 % intervals."""
    noise = reference_noise_of_seeds()
    page = make_subplots(rows=1, cols=len(COSTS), shared_yaxes=True, horizontal_spacing=0.04)
    every = []
    for (folder, family), (label, colour, symbol) in GROUPS.items():
        summary = read(REFERENCE / folder / "summary.json")
        rows = [row for row in summary["networks"] if row["family"] == family]
        every += rows
        errors = [100 * (1 - row["test_accuracy"]) for row in rows]
        ends = [noise.interval(row["test_accuracies"]) for row in rows]
        bars = error_bars(errors, [(100 * (1 - high), 100 * (1 - low)) for low, high in ends])
        for column, cost in enumerate(COSTS, 1):
            points = go.Scatter(
                x=[row[cost] for row in rows],
                y=errors,
                error_y=bars,
                mode="markers",
                name=label,
                showlegend=column == 1,
                marker={
                    "color": colour,
                    "symbol": symbol,
                    "size": 11,
                    "line": {"width": 2, "color": colour},
                },
            )
            page.add_trace(points, row=1, col=column)
    for column, cost in enumerate(COSTS, 1):
        values = [float(row[cost]) for row in every]
        title = OBJECTIVES[cost].axis
        page.update_xaxes(title_text=title, **log_axis(values), row=1, col=column)
    styled(page, height=480, showlegend=True)
    page.update_yaxes(type="log", tickvals=TICKS)
    page.update_yaxes(title_text="test error (%), log scale", row=1, col=1)
    return page.update_layout(width=1100, font_size=14, margin={"l": 70, "r": 20, "t": 60, "b": 60})


if __name__ == "__main__":
    figure().write_html(Path(sys.argv[1]), config={"displayModeBar": False})
