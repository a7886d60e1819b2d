"""`report.html`: a study in one file that can be sent to a colleague and opened anywhere."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import optuna
import plotly.graph_objects as go
import yaml
from plotly.offline import get_plotlyjs

from nas.files import write_atomic
from nas.format import format_count, format_duration
from nas.report.analysis import StudyData, read_study, table2_networks
from nas.report.choice_plots import choices_figure, expansion_figure, importance_figure
from nas.report.comparison_plots import comparison_figure, comparison_rows, describe_retraining
from nas.report.draw import draw
from nas.report.effects import (
    FEWEST_FOR_IMPORTANCE,
    FEWEST_NETWORKS,
    compare_expansions,
    importance,
    open_stages,
)
from nas.report.narrative import describe_finding, format_cost, percent
from nas.report.plots import curves_figure, front_figure, hypervolume_figure
from nas.retrain.comparison import read_summary
from nas.study.config import StudyConfig
from nas.study.objectives import COST_LABELS
from nas.training import PRESETS

REPORT = "report.html"
OPEN_DRAWINGS = 8  # drawings that are shown at once; the rest unfolds


@dataclass(frozen=True)
class Figure:
    """A figure with what the page says about it."""

    id: str
    title: str
    caption: str
    figure: go.Figure
    scroll: int = 0  # pixels below which it scrolls sideways instead of shrinking


def write_report(study: optuna.Study, config: StudyConfig, folder: Path) -> Path:
    """Write `report.html` into a study's folder, whole or not at all.

    It needs no network and no other file. A study without a front, or without any trial,
    gets a report that says so.

    Returns:
        The file that was written.
    """
    path = folder / REPORT
    write_atomic(path, render(read_study(study, config), read_summary(folder / "retrained")))
    return path


def render(found: StudyData, retrained: dict[str, Any] | None = None) -> str:
    """The report as HTML, with the summary of its retrained networks where there are any."""
    differences, weights = compare_expansions(found), importance(found)
    figures = study_figures(found, differences, weights)
    if retrained is not None:
        figures.append(
            Figure(
                "retrained",
                "Test accuracy after full training",
                "Means over seeds; bars are 95 % intervals from the spread between seeds.",
                comparison_figure(retrained),
            )
        )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = resources.files("nas.report") / "templates"
    texts = {name: (folder / f"report.{name}").read_text() for name in ("html", "css", "js")}
    return environment.from_string(texts["html"]).render(
        name=found.name,
        css=markupsafe.Markup(texts["css"]),
        js=markupsafe.Markup(texts["js"]),
        plotly_js=markupsafe.Markup(get_plotlyjs().replace("</script", "<\\/script")),
        subtitle=_subtitle(found),
        tiles=_tiles(found),
        finding=describe_finding(found, differences, weights),
        figures={figure.id: figure for figure in figures},
        plots={figure.id: markupsafe.Markup(_to_json(figure.figure)) for figure in figures},
        notes=_missing(found),
        costs=[name for name in found.config.objectives.names if name != "accuracy"],
        labels=COST_LABELS,
        front=_front_rows(found),
        open_drawings=OPEN_DRAWINGS,
        table2=[] if not len(found.trials) else _table2_rows(found),
        retrained=comparison_rows(retrained) if retrained else [],
        retraining=describe_retraining(retrained) if retrained else [],
        failures=_failures(found),
        counts=found.trials["state"].value_counts().to_dict(),
        reproduce=_reproduce(found),
    )


def study_figures(found: StudyData, differences: list[Any], weights: Any) -> list[Figure]:
    """The figures that a study has data for; the dashboard shows the same ones."""
    figures = []
    costs = [name for name in found.config.objectives.names if name != "accuracy"]
    if found.trials["accuracy"].notna().any():
        for cost in sorted(costs, key=lambda name: name != found.cost):
            figures.append(
                Figure(
                    "front" if cost == found.cost else f"front-{cost}",
                    f"Accuracy over {COST_LABELS[cost]}",
                    "Accuracy on the validation split. Point at a trial to see its architecture, "
                    "click on one of the front to see its drawing. Below the axis: what has a "
                    "cost but no accuracy.",
                    front_figure(found, cost),
                )
            )
    if found.members:
        figures += [
            Figure("hypervolume-trials", "Hypervolume over trials", "", hypervolume_figure(found)),
            Figure(
                "hypervolume-time", "Hypervolume over time", "", hypervolume_figure(found, "hours")
            ),
        ]
        figures.append(
            Figure(
                "choices",
                "Which choices make the front",
                "A column is a network of the front, the cheapest on the left with its cost below. "
                "Darker blue is a larger value. r has no meaning in a pointwise (1×1) stage.",
                choices_figure(found),
                scroll=40 * min(40, len(found.members)) + 160,
            )
        )
    if differences:
        figures.append(
            Figure(
                "expansion",
                "DCT against pointwise at equal cost",
                "Difference in accuracy between networks of equal cost that differ in the "
                "expansion, other choices as the search made them; intervals hold jointly "
                "with 95 % confidence (Bayesian bootstrap over networks).",
                expansion_figure(found, differences),
            )
        )
    if weights is not None:
        figures.append(
            Figure(
                "importance",
                "Importance of each choice for accuracy at given cost",
                "Variance of accuracy, after what the cost explains, that only this choice "
                "explains (cross-validated additive model; grey: spread over ten random splits). "
                "All choices together explain "
                f"{100 * weights.explained:.0f} % (below 0: worse than the mean).",
                importance_figure(weights),
            )
        )
    if any(len(curve) > 1 for curve in found.trials["curve"]):
        figures.append(
            Figure(
                "curves",
                "Learning curves",
                "Accuracy on the validation split at each rung.",
                curves_figure(found),
            )
        )
    return figures


def _to_json(figure: go.Figure) -> str:
    """Data and layout for the page's script; nothing in it can end the script element."""
    plain = json.loads(figure.to_json())
    text = json.dumps({"data": plain["data"], "layout": plain["layout"]}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _subtitle(found: StudyData) -> str:
    config, data = found.config, found.config.dataset
    return (
        f"{data.name}, {data.image_size}×{data.image_size}×{data.in_channels}, "
        f"{data.num_classes} classes · space {config.space.name}, "
        f"{config.space.distinct_size:,} architectures · recipe {config.recipe.name}, "
        f"{config.recipe.epochs} epochs · sampler {found.attributes.get('sampler', 'not recorded')}"
    )


def _tiles(found: StudyData) -> list[tuple[str, str]]:
    counts = found.trials["state"].value_counts()
    tiles = [
        ("trained", f"{counts.get('finished', 0):,}"),
        ("stopped early", f"{counts.get('stopped', 0):,}"),
        ("failed", f"{counts.get('failed', 0):,}"),
        ("on the front", f"{len(found.members):,}"),
    ]
    if found.members:
        volume = found.hypervolume["hypervolume"].iloc[-1]
        tiles += [
            ("best accuracy", percent(found.finished["accuracy"].max())),
            ("hypervolume", f"{volume:.4f}"),
        ]
    seconds = found.trials["seconds"].sum()
    return [*tiles, ("of training", format_duration(seconds))] if seconds else tiles


def _missing(found: StudyData) -> list[str]:
    """Why a figure is not there."""
    count, notes = len(found.finished), []
    if open_stages(found) and count < FEWEST_NETWORKS:
        notes.append(
            f"DCT is compared with pointwise from {FEWEST_NETWORKS} networks trained to the end "
            f"on; there are {count}."
        )
    if count < FEWEST_FOR_IMPORTANCE:
        notes.append(
            f"The importance of choices is estimated from {FEWEST_FOR_IMPORTANCE} networks trained "
            f"to the end on; there are {count}."
        )
    return notes


def _front_rows(found: StudyData) -> list[dict[str, Any]]:
    if not found.members:
        return []
    data = found.config.dataset
    return [
        {
            "arch_id": row["arch_id"],
            "trial": row["number"],
            "knee": row["knee"],
            "accuracy": percent(row["accuracy"]),
            "macs": format_count(row["macs"]),
            "params": format_count(row["params"]),
            "latency": format_cost("latency", row["latency"]) if row["latency"] > 0 else "",
            "arch": str(row["arch"]),
            "svg": markupsafe.Markup(draw(row["arch"], data)),
        }
        for row in found.front.to_dict("records")
    ]


def _table2_rows(found: StudyData) -> list[dict[str, str]]:
    return [
        {
            "name": row["name"],
            "macs": format_count(row["macs"]),
            "params": format_count(row["params"]),
            "accuracy": percent(row["accuracy"])
            if row["accuracy"] == row["accuracy"] and row["accuracy"] is not None
            else "not trained here",
        }
        for row in table2_networks(found).to_dict("records")
    ]


def _failures(found: StudyData) -> list[tuple[str, int, str]]:
    """Reason, times, and the first trials with it."""
    failed = found.of_state("failed")
    groups = failed.groupby(failed["reason"].fillna("unknown"))["number"]
    rows = [(str(reason), len(numbers), _some(list(numbers))) for reason, numbers in groups]
    return sorted(rows, key=lambda row: -row[1])


def _some(numbers: list[int], most: int = 8) -> str:
    text = ", ".join(str(number) for number in numbers[:most])
    return text + (", …" if len(numbers) > most else "")


def _reproduce(found: StudyData) -> dict[str, str]:
    """How to get this study again: command, space, data, recipe, versions."""
    config, attributes = found.config, found.attributes
    words = ["python", "runners/search.py", "--space", f"{config.space.name}.yaml"]
    words += ["--dataset", config.dataset.name, "--image-size", str(config.dataset.image_size)]
    words += ["--recipe", config.recipe.name]
    preset = PRESETS.get(config.recipe.name)
    for name in ("epochs", "batch_size", "learning_rate", "train_images"):
        value = getattr(config.recipe, name)
        if value is not None and (preset is None or value != getattr(preset, name)):
            words += [f"--{name.replace('_', '-')}", f"{value}"]
    words += ["--objectives"]
    words += [",".join(config.objectives.names)]
    for option in ("sampler", "seed"):
        if option in attributes:
            words += [f"--{option}", str(attributes[option])]
    for option, limit in (("macs", config.limits.max_macs), ("params", config.limits.max_params)):
        if limit is not None:
            words += [f"--max-{option}", str(limit)]
    counted = found.trials["state"].isin(["finished", "stopped"]).sum()
    words += ["--study", found.name, "--budget", str(max(1, int(counted)))]
    versions = attributes.get("versions", {})
    return {
        "command": shlex.join(words),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "data": f"{config.dataset.name}, fingerprint {config.dataset.fingerprint}",
        "recipe": yaml.safe_dump(config.recipe.model_dump(mode="json"), sort_keys=False),
        "space": yaml.safe_dump(config.space.to_dict(), sort_keys=False),
    }
