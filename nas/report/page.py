"""`report.html`: a study in one file that needs no network and no other file."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import optuna
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from nas.files import write_atomic
from nas.format import format_duration, format_number
from nas.report.analysis import StudyData, read_study, table2_networks
from nas.report.class_tables import class_tables
from nas.report.comparison_plots import comparison_rows, label_of_test
from nas.report.comparison_sentences import describe_retraining
from nas.report.device_view import describe_fit, draw_memory
from nas.report.draw import draw
from nas.report.effects import (
    FEWEST_FOR_IMPORTANCE,
    FEWEST_NETWORKS,
    compare_expansions,
    importance,
    open_stages,
)
from nas.report.figures import Figure, retrained_figures, study_figures
from nas.report.narrative import describe_finding
from nas.report.repeat import how_to_repeat
from nas.report.trial_table import retrain_command, trial_table
from nas.retrain.comparison import read_summary
from nas.retrain.next_steps import next_steps
from nas.space.devices import find_device
from nas.study.config import StudyConfig
from nas.study.latency_prediction import prediction_error
from nas.study.objectives import OBJECTIVES, costs, percent
from nas.study.sharing import SHARING, Sharing
from nas.study.sources import SOURCES

REPORT, COMPARISON = "report.html", "comparison.html"
RELOAD = 15  # seconds after which the page of a running search reloads itself, at least
OPEN_DRAWINGS = 8  # drawings that are shown at once; the rest unfolds
GLOSSARY = (
    "DCT is the dynamic clone transformer: it expands N/p channels to N by cloning them p times "
    "and shifting each clone by a coefficient that depends on the image; a pointwise expansion is "
    "a 1×1 convolution in its place. p is the expansion ratio, the number of clones; r is the "
    "reduction ratio of the recalibrator, which computes the coefficients; hidden (h) is the "
    "recalibrator's number of hidden units, N/r."
)
STATES = {
    "finished": "Finished trials were trained for the whole schedule.",
    "stopped": "Stopped trials were ended early by the stopping rule and are never on the front.",
    "interrupted": "Interrupted trials were given up and queued again.",
    "refused": "Refused trials were over a limit or in training already.",
    "repeat": "Repeats have the result of an earlier trial.",
}


def write_report(
    study: optuna.Study, config: StudyConfig, folder: Path, *, running: bool = False
) -> Path:
    """Write `report.html` into a study's folder, whole or not at all.

    A study without a front, or without any trial, gets a report that says so.

    Args:
        study: read once.
        config: of the study.
        folder: of the study.
        running: whether a search works on the study: the page then reloads itself.

    Returns:
        The file that was written.
    """
    return write_data(read_study(study, config), folder, running=running)


def write_data(data: StudyData, folder: Path, *, running: bool) -> Path:
    """`write_report` of a study that has been read."""
    path = folder / REPORT
    summary = read_summary(folder / "retrained")
    front_file = folder.resolve() / "front.json"
    write_atomic(path, render(data, summary, front_file=front_file, running=running))
    return path


def write_comparison(summary: dict[str, Any], folder: Path) -> Path:
    """Write `comparison.html`: the networks of a retraining as figures, a table and sentences."""
    path = folder / COMPARISON
    recipe = summary["recipe"]
    text = _page(
        "comparison.html",
        retrained_figures(summary),
        name=summary["study"],
        subtitle=f"{summary['dataset']} · recipe {recipe['name']}, "
        f"{format_number(recipe['epochs'], 'epoch')} · accuracies on the test set",
        **_retraining(summary),
    )
    write_atomic(path, text)
    return path


def render(
    data: StudyData,
    retrained: dict[str, Any] | None = None,
    *,
    front_file: Path = Path("front.json"),
    running: bool = False,
) -> str:
    """The report as HTML, with the summary of the retrained networks where there is one."""
    differences, weights = compare_expansions(data), importance(data)
    figures = study_figures(data, differences, weights, retrained)
    return _page(
        "report.html",
        figures,
        trial_table(data, front_file),
        name=data.name,
        running=running,
        subtitle=_subtitle(data),
        tiles=_tiles(data),
        finding=describe_finding(data, differences, weights),
        notes=[*_shared(data), *_latency(data), *_missing(data)],
        costs=data.config.objectives.costs,
        cost_label=OBJECTIVES[data.cost].label,
        accuracy_label=data.accuracy_label,
        has_trials=len(data.trials) > 0,
        modelled=data.modelled,
        intervals=any(estimate.interval for estimate in data.estimates.values()),
        glossary=GLOSSARY,
        states=[text for state, text in STATES.items() if state in data.counts],
        front=_front_rows(data, front_file),
        open_drawings=OPEN_DRAWINGS,
        table2=[] if not len(data.trials) else _table2_rows(data),
        failures=_failures(data),
        counts=data.counts,
        reproduce=how_to_repeat(data),
        **_retraining(retrained),
    )


def _page(
    template: str, figures: list[Figure], trials: dict[str, Any] | None = None, **values: Any
) -> str:
    """A template with its style, its script and what the script draws."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.PackageLoader("nas.report"),
    )
    folder = resources.files("nas.report") / "templates"
    css, js = (markupsafe.Markup((folder / f"report.{kind}").read_text()) for kind in ("css", "js"))
    return environment.get_template(template).render(
        css=css,
        js=js,
        plotly_js=markupsafe.Markup(get_plotlyjs().replace("</script", "<\\/script")),
        figures={figure.id: figure for figure in figures},
        plots={figure.id: _to_json(_plain(figure.figure)) for figure in figures},
        trials=_to_json(trials or {"costs": [], "accuracy": "", "main": 0, "rows": []}),
        reload=RELOAD,
        labels={name: one.label for name, one in OBJECTIVES.items()},
        **values,
    )


def _retraining(summary: dict[str, Any] | None) -> dict[str, Any]:
    """What the table of retrained networks shows; empty where there is none."""
    return {
        "retrained": comparison_rows(summary) if summary else [],
        "test_label": label_of_test(summary) if summary else "",
        "retraining": describe_retraining(summary) if summary else [],
        "classes": class_tables(summary) if summary else [],
        "next_steps": next_steps(summary) if summary else [],
    }


def _plain(figure: go.Figure) -> dict[str, Any]:
    plain = json.loads(figure.to_json())
    return {"data": plain["data"], "layout": plain["layout"]}


def _to_json(values: Any) -> markupsafe.Markup:
    """Values for the page's script; no text in them can end the script element."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return markupsafe.Markup(text)


def _subtitle(data: StudyData) -> str:
    config, dataset = data.config, data.config.dataset
    return (
        f"{dataset.name}, {dataset.image_size}×{dataset.image_size}×{dataset.in_channels}"
        f"{config.recipe.size_note(dataset.image_size)}, "
        f"{format_number(dataset.num_classes, 'class', 'classes')} · space {config.space.name}, "
        f"{format_number(config.space.distinct_size, 'architecture')} · "
        f"recipe {config.recipe.name}, {format_number(config.recipe.epochs, 'epoch')}"
        f"{f', {data.accuracy_label}' * (data.accuracy_label != 'accuracy')} · "
        f"sampler {data.attributes.get('sampler', 'not stored')}"
    )


def _shared(data: StudyData) -> list[str]:
    """What the study took from earlier ones, a sentence each."""
    stored = data.attributes.get(SHARING)
    if stored is None:
        return [f"Informed by {one['name']}." for one in data.attributes.get(SOURCES, [])]
    first, *others = Sharing.model_validate(stored).sentences()
    return [f"Earlier studies that informed the search: {first}", *others]


def _latency(data: StudyData) -> list[str]:
    """How well latencies are predicted from each other, where they are measured."""
    rows = data.trials[data.trials["latency"].notna()].drop_duplicates("arch_id")
    measured = list(zip(rows["arch"], rows["latency"], strict=True))
    predicted = prediction_error(measured, data.config)
    return [] if predicted is None else [predicted.sentence()]


def _tiles(data: StudyData) -> list[tuple[str, str]]:
    tiles = [
        (state, f"{data.counts.get(state, 0):,}") for state in ("finished", "stopped", "failed")
    ]
    tiles += [
        (state, f"{data.counts[state]:,}")
        for state in ("interrupted", "refused")
        if state in data.counts
    ]
    tiles.append(("on the front", f"{len(data.members):,}"))
    if data.members:
        volume = data.hypervolume["hypervolume"].iloc[-1]
        tiles += [
            (
                "best accuracy, estimated" if data.modelled else "best accuracy",
                percent(data.finished["estimate"].max()),
            ),
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
            f"end; so far: {count}."
        )
    if count < FEWEST_FOR_IMPORTANCE:
        notes.append(
            f"The importance of choices is estimated once {FEWEST_FOR_IMPORTANCE} networks are "
            f"trained to the end; so far: {count}."
        )
    return notes


def _front_rows(data: StudyData, front_file: Path) -> list[dict[str, Any]]:
    if not data.members:
        return []
    config, dataset = data.config, data.config.dataset
    device = None if config.limits.device is None else find_device(config.limits.device)
    memory_counts = "memory" in {*config.objectives.names, *config.limits.given}
    return [
        {
            "arch_id": row["arch_id"],
            "trial": row["number"],
            "knee": row["knee"],
            "accuracy": _accuracy(row, data),
            "costs": [OBJECTIVES[n].describe(row[n]) for n in costs() if row[n] == row[n]],
            "retrain": retrain_command(front_file, row["arch_id"]),
            "svg": markupsafe.Markup(draw(row["arch"], data.config.dataset)),
            "fit": None if device is None else describe_fit(row["arch"], dataset, device),
            "memory": markupsafe.Markup(draw_memory(row["arch"], dataset, device))
            if memory_counts
            else None,
        }
        for row in data.front.to_dict("records")
    ]


def _accuracy(row: Any, data: StudyData) -> str:
    """A member's estimate beside its measurement, or the measurement alone."""
    measured = percent(row["accuracy"])
    if not data.modelled:
        return measured
    return f"{percent(row['estimate'])} estimated, {measured} measured"


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
