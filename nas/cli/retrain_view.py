"""The output of `retrain`: the retrained networks and what they say about the search."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from nas.cli.search_view import PLAIN_WIDTH
from nas.format import one_line
from nas.report.comparison_plots import comparison_rows, describe_retraining

if TYPE_CHECKING:
    from nas.tune.retrain import Retrained


def show_retrained(retrained: Retrained) -> None:
    """Print the retrained networks, the comparison, and the files that were written."""
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH)
    if retrained.summary is not None:
        console.print(_table(retrained.summary))
        for line in describe_retraining(retrained.summary):
            console.print(line, highlight=False)
    for name, exported in (
        (one["network"], one["export"]) for one in retrained.metrics if "export" in one
    ):
        console.print(_export_line(name, exported), highlight=False)
    for note in retrained.notes:
        console.print(note, highlight=False)
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
    names |= {"seeds": "seeds", "test": "test accuracy"}
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


def _export_line(name: str, exported: dict[str, Any]) -> str:
    """Agreement of the exported files with the network, and their latency."""
    latencies = ", ".join(
        f"{form} {1e3 * seconds['1']:.2f} ms" for form, seconds in exported["seconds"].items()
    )
    largest = max(exported["largest_difference"].values())
    return (
        f"{name} exported (ONNX opset {exported['opset']}): logits agree to {largest:.0e} of the "
        f"largest; one image on one thread: {latencies}"
    )
