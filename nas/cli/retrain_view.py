"""The output of `retrain`: the retrained networks and what they say about the search."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.cli.program import command_line
from nas.cli.search_view import PLAIN_WIDTH
from nas.format import format_bytes, format_duration, format_number, one_line
from nas.report.class_tables import ClassTable, class_tables
from nas.report.comparison_plots import comparison_rows, label_of_test
from nas.report.comparison_sentences import describe_retraining
from nas.retrain.next_steps import next_steps
from nas.study.objectives import percent

MOST_ROWS = 12  # of a confusion matrix in the terminal

if TYPE_CHECKING:
    from nas.tune.retrain import Retrained
    from nas.tune.retrain_plan import Plan


def show_plan(plan: Plan, file: TextIO) -> None:
    """Print what will be trained."""
    more = "".join(
        f", and up to {format_duration(seconds)} more where {reason}"
        for seconds, reason in (
            (
                plan.again_seconds,
                "networks end below their short schedule and are trained again",
            ),
            (plan.further_seconds, "the best learning rate is the least or the greatest"),
        )
        if seconds
    )
    print(
        f"plan: {format_number(plan.trainings, 'training')} of "
        f"{format_number(plan.epochs, 'epoch')}, {format_number(plan.seeds, 'seed')} each, about "
        f"{format_duration(plan.seconds)} on this machine{more}: {', '.join(plan.networks)}",
        file=file,
    )


def show_retrained(retrained: Retrained) -> None:
    """Print the retrained networks, the comparison, and the files that were written."""
    # Without markup: classes, folders and errors may hold brackets.
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH, markup=False)
    if retrained.summary is not None:
        console.print(_table(retrained.summary))
        for line in describe_retraining(retrained.summary):
            console.print(line, highlight=False)
        trained = {measured["network"] for measured in retrained.metrics}
        for table in _of(class_tables(retrained.summary), trained):
            console.print(_class_table(table))
    for name, exported in (
        (one["network"], one["export"]) for one in retrained.metrics if "export" in one
    ):
        console.print(_export_line(name, exported), highlight=False)
    for note in retrained.notes:
        console.print(note, highlight=False)
    if retrained.summary is not None:
        for word, line in next_steps(retrained.summary, trained, command_line):
            console.print(f"{word:8} {line}", highlight=False, soft_wrap=True)
    for path in [*(measured["folder"] for measured in retrained.metrics), *retrained.files]:
        print(f"written: {path}")
    for failure in retrained.failures:
        print(f"failed: {one_line(failure)}", file=sys.stderr)


def _table(summary: dict[str, Any]) -> Table:
    rows = comparison_rows(summary)
    table = Table(
        title="Retrained networks",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    names = {"network": "network", "macs": "FLOPs", "params": "params", "learning_rate": "lr"}
    names |= {"seeds": "seeds", "test": label_of_test(summary)}
    for name, title in (("change", "vs search"), ("latency", "latency")):
        names |= {name: title} if any(row[name] for row in rows) else {}
    names |= {"mark": ""} if any(row["mark"] for row in rows) else {}
    for name, title in names.items():
        left = name in ("network", "mark")
        table.add_column(
            title,
            justify="left" if left else "right",
            no_wrap=name != "mark",
            overflow="ellipsis",
            min_width=10 if name == "mark" else None,
        )
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _of(tables: list[ClassTable], networks: set[str]) -> list[ClassTable]:
    """The most accurate of the networks, where its matrix is small enough for a terminal."""
    small = [one for one in tables if one.network in networks and len(one.rows) <= MOST_ROWS]
    return small[-1:]


def _class_table(classes: ClassTable) -> Table:
    """The confusion matrix in per cent; columns are the predicted classes, by number."""
    table = Table(
        title=f"Test images of {classes.network} by class, and what they are taken for, %",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("class", no_wrap=True, overflow="ellipsis", max_width=24)
    for title in ("images", "accuracy", *(str(row.index) for row in classes.rows)):
        table.add_column(title, justify="right", no_wrap=True)
    for row in classes.rows:
        table.add_row(
            Text(f"{row.index} {one_line(row.name)}"),
            f"{row.images:,}",
            "" if row.accuracy is None else percent(row.accuracy),
            *(f"{100 * share:.0f}" if share else "" for share in row.shares),
        )
    return table


def _export_line(name: str, exported: dict[str, Any]) -> str:
    """Agreement of the exported files with the network, and their latency."""
    latencies = ", ".join(
        f"{form} {1e3 * seconds['1']:.2f} ms" for form, seconds in exported["seconds"].items()
    )
    largest = max(exported["largest_difference"].values())
    quantised = "".join(
        f"; {label}: {percent(int8['accuracy'])} of "
        f"{format_number(int8['test_images'], 'test image')} (float "
        f"{percent(int8['float_accuracy'])}), {format_bytes(int8['bytes'])} (float "
        f"{format_bytes(int8['float_bytes'])})"
        for key, label in (("int8", "int8"), ("int8_tflite", "int8 TensorFlow Lite"))
        if (int8 := exported.get(key))
    )
    if "fine_tuning" in exported:
        quantised += f"; int8 fine-tuning: {_fine_tuning(exported['fine_tuning'])}"
    return (
        f"{name} exported (ONNX opset {exported['opset']}): logits agree to {largest:.0e} of the "
        f"largest; one image on one thread: {latencies}{quantised}"
    )


def _fine_tuning(measured: dict[str, Any]) -> str:
    """What was decided, from `nas.training.fine_tune_int8`."""
    if "skipped" in measured:
        return f"skipped, {measured['skipped']}"
    static, of = (
        percent(measured["static_accuracy"]),
        f"(float {percent(measured['float_accuracy'])})",
    )
    images = format_number(measured["val_images"], "validation image")
    if not measured["epochs"]:
        return f"not needed, {static} of {images} {of}"
    trained = (
        f"{format_number(measured['epochs'], 'epoch')} in {format_duration(measured['seconds'])}"
    )
    after = "diverged" if measured["accuracy"] is None else percent(measured["accuracy"])
    end = "the int8 file has weights of its own" if measured["kept"] else "not kept"
    return f"{trained}, from {static} to {after} of {images} {of}; {end}"
