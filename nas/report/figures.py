"""The figures of a study, each with its title and caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from nas.format import format_number
from nas.report.analysis import StudyData
from nas.report.choice_plots import choices_figure, expansion_figure, importance_figure
from nas.report.comparison_plots import comparison_figure, label_of_test
from nas.report.front_plot import front_figure
from nas.report.plots import curves_figure, hypervolume_figure
from nas.study.objectives import OBJECTIVES


@dataclass(frozen=True)
class Figure:
    """A figure with its title and caption."""

    id: str
    title: str
    caption: str
    figure: go.Figure
    scroll: int = 0  # pixels; a narrower page scrolls it sideways


def study_figures(
    data: StudyData, differences: list[Any], weights: Any, retrained: dict[str, Any] | None = None
) -> list[Figure]:
    """The figures that a study has data for; the dashboard shows the same ones.

    Args:
        data: the study.
        differences: from `compare_expansions`.
        weights: from `importance`.
        retrained: summary of the retrained networks, where there are some.
    """
    figures = []
    if data.trials["accuracy"].notna().any():
        for cost in sorted(data.config.objectives.costs, key=lambda name: name != data.cost):
            figure = front_figure(data, cost)
            figures.append(
                Figure(
                    "front" if cost == data.cost else f"front-{cost}",
                    f"{data.accuracy_label.capitalize()} over {OBJECTIVES[cost].label}",
                    _front_caption(data, figure),
                    figure,
                )
            )
    if len(data.hypervolume) > 1:
        figures += [
            Figure("hypervolume-trials", "Hypervolume over trials", "", hypervolume_figure(data)),
            Figure(
                "hypervolume-time", "Hypervolume over time", "", hypervolume_figure(data, "hours")
            ),
        ]
    if len(data.members) > 1:
        figures.append(
            Figure(
                "choices",
                "Which choices make the front",
                "A column is a network of the front, the cheapest on the left with its cost below. "
                "Darker blue is a larger value. r has no meaning in a pointwise (1×1) stage.",
                choices_figure(data),
                scroll=40 * min(40, len(data.members)) + 160,
            )
        )
    if differences:
        figures.append(
            Figure(
                "expansion",
                "DCT against pointwise at equal cost",
                "Difference in accuracy between networks of equal cost that differ in the "
                "expansion, averaged over the other choices of the search; intervals hold jointly "
                "with 95 % confidence (Bayesian bootstrap over networks).",
                expansion_figure(data, differences),
            )
        )
    if weights is not None:
        figures.append(
            Figure(
                "importance",
                "Importance of each choice for accuracy at equal cost",
                "Share of the variance of accuracy at equal cost that this choice alone explains "
                "(cross-validated additive model; grey: spread over ten random splits). "
                "All choices together explain "
                f"{100 * weights.explained:.0f} % (below 0: worse than the mean).",
                importance_figure(weights),
            )
        )
    if any(len(curve) > 1 for curve in data.trials["curve"]):
        figures.append(
            Figure(
                "curves",
                "Learning curves",
                f"{data.accuracy_label.capitalize()} on the validation split at each rung: an "
                "epoch at which the rule for stopping early decides.",
                curves_figure(data),
            )
        )
    return figures + (retrained_figures(retrained) if retrained else [])


def retrained_figures(summary: dict[str, Any]) -> list[Figure]:
    """Test accuracy over both costs, of networks that were trained in full."""
    bars = any(row["interval"] for row in summary["networks"])
    caption = (
        "Means over seeds; bars are 95 % intervals from the spread between seeds, pooled over "
        "networks."
        if bars
        else "One seed each: the noise of training is not known."
    )
    return [
        Figure(
            f"retrained-{cost}",
            f"{label_of_test(summary).capitalize()} over {OBJECTIVES[cost].label}",
            caption,
            comparison_figure(summary, cost),
        )
        for cost in ("macs", "params")
    ]


def _front_caption(data: StudyData, figure: go.Figure) -> str:
    label = data.accuracy_label.capitalize()
    parts = [f"{label} on the validation split. Point at a trial to see its architecture."]
    if data.members:
        parts.append("Click a network of the front to see its drawing.")
        front = next(trace for trace in figure.data if trace.name == "front")
        if data.modelled:
            parts.append(
                "The front is drawn at its estimates, which correct for the selection of high "
                "measurements with the results of all trials; bars are their 95 % intervals, "
                "open circles the measurements."
            )
        elif front.error_y.array is not None:
            parts.append(
                f"Bars: 95 % intervals by the binomial noise of "
                f"{format_number(data.attributes['val_images'], 'image')}."
            )
    below = [trace.name for trace in figure.data if trace.yaxis == "y2"]
    kinds = ["failed trials"] if "failed" in below else []
    kinds += ["networks of the paper's Table 2"] if "Table 2 (cost only)" in below else []
    if kinds:
        parts.append(f"Below the axis: {' and '.join(kinds)}, which have a cost but no accuracy.")
    return " ".join(parts)
