"""`report.html`: a study in one file that needs no network and no other file."""

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
from nas.format import format_duration
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
from nas.report.narrative import describe_finding
from nas.report.plots import curves_figure, front_figure, hypervolume_figure
from nas.retrain.comparison import read_summary
from nas.study.config import StudyConfig
from nas.study.objectives import OBJECTIVES, costs, percent
from nas.training import PRESETS

REPORT = "report.html"
OPEN_DRAWINGS = 8  # drawings that are shown at once; the rest unfolds
GLOSSARY = (
    "DCT is the dynamic clone transformer: it expands N/p channels to N by cloning them and "
    "weighting every channel; a pointwise expansion is a 1×1 convolution in its place. p is the "
    "expansion ratio, the number of clones; r is the reduction ratio of the recalibrator that "
    "computes the weights; hidden (h) is its number of hidden units, N/r."
)
STATES = (
    "Finished trials were trained for the whole schedule, stopped ones ended early by the rule "
    "and are never on the front, interrupted ones were given up and queued again, refused ones "
    "were over a limit or in training already, repeats have the result of an earlier trial."
)


BELOW = (
    " Below the axis: failed trials and networks of the paper's Table 2, which have a cost but no "
    "accuracy."
)


@dataclass(frozen=True)
class Figure:
    """A figure with its title and caption."""

    id: str
    title: str
    caption: str
    figure: go.Figure
    scroll: int = 0  # pixels; a narrower page scrolls it sideways


def write_report(study: optuna.Study, config: StudyConfig, folder: Path) -> Path:
    """Write `report.html` into a study's folder, whole or not at all.

    A study without a front, or without any trial, gets a report that says so.

    Returns:
        The file that was written.
    """
    path = folder / REPORT
    write_atomic(path, render(read_study(study, config), read_summary(folder / "retrained")))
    return path


def render(data: StudyData, retrained: dict[str, Any] | None = None) -> str:
    """The report as HTML, with the summary of the retrained networks where there is one."""
    differences, weights = compare_expansions(data), importance(data)
    figures = study_figures(data, differences, weights)
    if retrained is not None:
        figures.append(
            Figure(
                "retrained",
                "Test accuracy after full training",
                "Means over seeds; bars are 95 % intervals from the spread between seeds."
                if retrained["noise"]["source"] == "seeds"
                else "One seed each, so there are no intervals.",
                comparison_figure(retrained),
            )
        )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = resources.files("nas.report") / "templates"
    texts = {name: (folder / f"report.{name}").read_text() for name in ("html", "css", "js")}
    return environment.from_string(texts["html"]).render(
        name=data.name,
        css=markupsafe.Markup(texts["css"]),
        js=markupsafe.Markup(texts["js"]),
        plotly_js=markupsafe.Markup(get_plotlyjs().replace("</script", "<\\/script")),
        subtitle=_subtitle(data),
        tiles=_tiles(data),
        finding=describe_finding(data, differences, weights),
        figures={figure.id: figure for figure in figures},
        plots={figure.id: markupsafe.Markup(_to_json(figure.figure)) for figure in figures},
        notes=_missing(data),
        costs=data.config.objectives.costs,
        columns=_columns(data),
        labels={name: one.label for name, one in OBJECTIVES.items()},
        glossary=GLOSSARY,
        states=STATES,
        front=_front_rows(data),
        open_drawings=OPEN_DRAWINGS,
        table2=[] if not len(data.trials) else _table2_rows(data),
        retrained=comparison_rows(retrained) if retrained else [],
        retraining=describe_retraining(retrained) if retrained else [],
        failures=_failures(data),
        counts=data.counts,
        reproduce=_reproduce(data),
    )


def study_figures(data: StudyData, differences: list[Any], weights: Any) -> list[Figure]:
    """The figures that a study has data for; the dashboard shows the same ones."""
    figures = []
    if data.trials["accuracy"].notna().any():
        for cost in sorted(data.config.objectives.costs, key=lambda name: name != data.cost):
            figure = front_figure(data, cost)
            figures.append(
                Figure(
                    "front" if cost == data.cost else f"front-{cost}",
                    f"Accuracy over {OBJECTIVES[cost].label}",
                    "Accuracy on the validation split; the axis is the logarithm of the error. "
                    "Point at a trial to see its architecture; click on one of the front to see "
                    "its drawing."
                    + (BELOW if any(trace.yaxis == "y2" for trace in figure.data) else ""),
                    figure,
                )
            )
    if data.members:
        figures += [
            Figure("hypervolume-trials", "Hypervolume over trials", "", hypervolume_figure(data)),
            Figure(
                "hypervolume-time", "Hypervolume over time", "", hypervolume_figure(data, "hours")
            ),
        ]
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
                "Importance of each choice for accuracy at given cost",
                "Share of the variance of accuracy at given cost that this choice alone explains "
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
                "Accuracy on the validation split at each rung: an epoch at which the rule for "
                "stopping early decides.",
                curves_figure(data),
            )
        )
    return figures


def _to_json(figure: go.Figure) -> str:
    """Data and layout for the page's script; no text in it can end the script element."""
    plain = json.loads(figure.to_json())
    text = json.dumps({"data": plain["data"], "layout": plain["layout"]}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _subtitle(data: StudyData) -> str:
    config, dataset = data.config, data.config.dataset
    return (
        f"{dataset.name}, {dataset.image_size}×{dataset.image_size}×{dataset.in_channels}"
        f"{config.recipe.size_note(dataset.image_size)}, "
        f"{dataset.num_classes} classes · space {config.space.name}, "
        f"{config.space.distinct_size:,} architectures · recipe {config.recipe.name}, "
        f"{config.recipe.epochs} epochs{', balanced accuracy' * config.recipe.balanced} · "
        f"sampler {data.attributes.get('sampler', 'not stored')}"
    )


def _tiles(data: StudyData) -> list[tuple[str, str]]:
    tiles = [
        (state, f"{data.counts.get(state, 0):,}") for state in ("finished", "stopped", "failed")
    ]
    if "interrupted" in data.counts:
        tiles.append(("interrupted", f"{data.counts['interrupted']:,}"))
    tiles.append(("on the front", f"{len(data.members):,}"))
    if data.members:
        volume = data.hypervolume["hypervolume"].iloc[-1]
        tiles += [
            ("best accuracy", percent(data.finished["accuracy"].max())),
            ("hypervolume", f"{volume:.4f}"),
        ]
    seconds = data.trials["seconds"].sum()
    return [*tiles, ("of training", format_duration(seconds))] if seconds else tiles


def _missing(data: StudyData) -> list[str]:
    """Why a figure is missing, a sentence each."""
    count, notes = len(data.finished), []
    if open_stages(data) and count < FEWEST_NETWORKS:
        notes.append(
            f"DCT is compared with pointwise once {FEWEST_NETWORKS} networks are trained to the "
            f"end; there are {count}."
        )
    if count < FEWEST_FOR_IMPORTANCE:
        notes.append(
            f"The importance of choices is estimated once {FEWEST_FOR_IMPORTANCE} networks are "
            f"trained to the end; there are {count}."
        )
    return notes


def _columns(data: StudyData) -> list[str]:
    """The costs in the front's table: those that every member has."""
    return [name for name in costs() if data.members and data.front[name].notna().all()]


def _front_rows(data: StudyData) -> list[dict[str, Any]]:
    if not data.members:
        return []
    dataset = data.config.dataset
    return [
        {
            "arch_id": row["arch_id"],
            "trial": row["number"],
            "knee": row["knee"],
            "accuracy": percent(row["accuracy"]),
            "costs": [OBJECTIVES[name].format(row[name]) for name in _columns(data)],
            "described": [OBJECTIVES[name].describe(row[name]) for name in _columns(data)],
            "arch": str(row["arch"]),
            "svg": markupsafe.Markup(draw(row["arch"], dataset)),
        }
        for row in data.front.to_dict("records")
    ]


def _table2_rows(data: StudyData) -> list[dict[str, str]]:
    return [
        {
            "name": row["name"],
            "macs": OBJECTIVES["macs"].format(row["macs"]),
            "params": OBJECTIVES["params"].format(row["params"]),
            "accuracy": percent(row["accuracy"])
            if row["accuracy"] == row["accuracy"] and row["accuracy"] is not None
            else "not trained here",
        }
        for row in table2_networks(data).to_dict("records")
    ]


def _failures(data: StudyData) -> list[tuple[str, int, str]]:
    """Reason, times, and the first trials with it."""
    failed = data.of_state("failed")
    groups = failed.groupby(failed["reason"].fillna("unknown"))["number"]
    rows = [(str(reason), len(numbers), _some(list(numbers))) for reason, numbers in groups]
    return sorted(rows, key=lambda row: -row[1])


def _some(numbers: list[int], most: int = 8) -> str:
    text = ", ".join(str(number) for number in numbers[:most])
    return text + (", …" if len(numbers) > most else "")


def _reproduce(data: StudyData) -> dict[str, str]:
    """How to run this search again: command, space, data, recipe, versions."""
    config, attributes = data.config, data.attributes
    words = ["nas", "search", "--space", f"{config.space.name}.yaml"]
    info = config.dataset
    words += ["--dataset", info.name]
    if not config.recipe.size_note(info.image_size):  # else the option would train at that size
        words += ["--image-size", str(info.image_size)]
    if info.name.startswith("folder:"):
        words += ["--channels", str(info.in_channels)]
        words += ["--background", info.background] if info.background else []
    words += ["--recipe", config.recipe.name]
    preset = PRESETS.get(config.recipe.name)
    for name in ("epochs", "batch_size", "learning_rate", "train_images", "metric"):
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
    counted = data.trials["state"].isin(["finished", "stopped"]).sum()
    words += ["--study", data.name, "--budget", str(max(1, int(counted)))]
    versions = attributes.get("versions", {})
    return {
        "command": shlex.join(words),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "data": f"{config.dataset.name}, fingerprint {config.dataset.fingerprint}",
        "recipe": yaml.safe_dump(config.recipe.model_dump(mode="json"), sort_keys=False),
        "space": yaml.safe_dump(config.space.to_dict(), sort_keys=False),
    }
