"""The results of a retraining in sentences, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nas.format import format_duration, format_number
from nas.report.class_tables import describe_classes
from nas.report.comparison_plots import LOOKS, change_from_search, label_of_test
from nas.retrain.references import EQUAL_COST_TWIN, SEARCHED


def describe_retraining(summary: dict[str, Any]) -> list[str]:
    """What a `summary.json` says, in the order in which a person reads it."""
    return [
        *summary.get("notes", []),
        _noise(summary),
        *_change(summary),
        *_teachers(summary),
        *_latency(summary),
        *describe_classes(summary),
        *_short_schedule(summary),
        *_equal_members(summary),
        *_differences(summary),
        *_mean_differences(summary),
        *_left_out(summary),
    ]


def _noise(summary: dict[str, Any]) -> str:
    noise = summary["noise"]
    if noise["source"] == "seeds":
        return (
            f"{100 * summary['confidence']:.0f} % intervals from the spread between seeds, pooled "
            f"over networks: the standard deviation is {100 * noise['log_error_sd']:.1f} % of a "
            f"network's errors ({format_number(noise['degrees_of_freedom'], 'degree')} of freedom)."
        )
    return (
        "One seed each, so the noise of training is not known; the intervals are those of the "
        "number of test images alone. Retrain with --seeds 2 or more to measure it."
    )


def _change(summary: dict[str, Any]) -> Iterator[str]:
    if any(change_from_search(row) for row in summary["networks"]):
        yield (
            f"Against the search: {label_of_test(summary)} after full training minus the search's "
            "estimate, which is of the validation split and the short schedule."
        )


def _teachers(summary: dict[str, Any]) -> Iterator[str]:
    for teacher in dict.fromkeys(row.get("teacher") for row in summary["networks"]):
        if teacher is not None:
            taught = [row for row in summary["networks"] if row.get("teacher") == teacher]
            hours = sum(row["hours"] for row in taught)
            yield (
                f"{format_number(len(taught), 'network')} learned from the logits of {teacher} and "
                f"the labels: {format_duration(3600 * hours)} of training, after "
                f"{format_duration(3600 * taught[0]['teacher_hours'])} for the teacher and its "
                "logits."
            )


def _latency(summary: dict[str, Any]) -> Iterator[str]:
    rows = [row for row in summary["networks"] if row.get("latency")]
    if rows:
        machines = {machine for row in rows for machine in row.get("latency_machines", ())}
        several = (
            f" These latencies were measured on {len(machines)} kinds of machine and cannot be "
            f"compared: {'; '.join(sorted(machines))}."
        )
        yield (
            "Latency: one image on one thread of the processor."
            f"{several if len(machines) > 1 else ''}"
        )


def _short_schedule(summary: dict[str, Any]) -> Iterator[str]:
    """How well the search's short schedule ranks the networks of the front."""
    short = summary["short_schedule"]
    if short and short["ranks"]:
        kendall, spearman = short["ranks"]["kendall"], short["ranks"]["spearman"]
        ranked = sum(
            row["family"] == SEARCHED and row["short_accuracy"] is not None
            for row in summary["networks"]
        )
        yield (
            f"Short against full accuracy of {format_number(ranked, 'network')} of the "
            f"front: Kendall's tau {_interval(kendall)}, Spearman {_interval(spearman)} (bootstrap "
            "over networks). Along a front accuracy grows with cost, so cost alone would give a "
            "high rank correlation."
        )
    if short:
        yield (
            f"{short['non_dominated']} of {short['networks']} stay non-dominated after full "
            f"training ({short['non_dominated_low']} to {short['non_dominated_high']} under the "
            "noise)."
        )


def _equal_members(summary: dict[str, Any]) -> Iterator[str]:
    searched = (row for row in summary["networks"] if row["family"] == SEARCHED)
    if any(row["not_told_apart_from"] for row in searched):
        yield (
            "= marks members whose accuracy does not differ significantly from that of others "
            "(Tukey and Kramer, all pairs jointly); summary.json names them."
        )


def _differences(summary: dict[str, Any]) -> Iterator[str]:
    """Of each searched network from its references."""
    for row in summary["differences"]:
        yield (
            f"{row['network']} against {row['reference']} ({row['macs_ratio']:.2f} times its "
            f"multiply-adds): {_difference(row, row['low'], row['high'], summary)}, "
            f"{_verdict(row['low'], row['high'])}."
        )


def _mean_differences(summary: dict[str, Any]) -> Iterator[str]:
    for row in summary["mean_differences"]:
        low, high = row["joint_low"], row["joint_high"]
        equal = " of equal cost" if row["reference"] == EQUAL_COST_TWIN else ""
        yield (
            f"Mean of the {format_number(row['pairs'], 'pair')} with "
            f"{LOOKS[row['family']][0]}{equal}: {_difference(row, low, high, summary)}, "
            f"{_verdict(low, high)}; this interval is adjusted for "
            f"{format_number(summary['comparisons'], 'comparison')}, those above are not."
        )


def _difference(row: dict[str, Any], low: float, high: float, summary: dict[str, Any]) -> str:
    """In points of accuracy, and as a share of the errors, with the interval of that."""
    shares, (less, more) = (low, high), ("fewer errors", "more errors")
    if label_of_test(summary) != "test accuracy":
        less, more = "less balanced error", "more balanced error"
    share, word = row["fewer_errors"], less
    if share < 0:
        share, shares, word = -share, (-high, -low), more
    ends = " to ".join(_percent(end) for end in shares)
    return f"{100 * row['difference']:+.2f} points, {_percent(share)} % {word} ({ends})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if abs(share) < 10 else f"{100 * share:,.0f}"


def _left_out(summary: dict[str, Any]) -> Iterator[str]:
    if left_out := summary.get("left_out"):
        which = "; ".join(f"{one['folder']} ({one['why']})" for one in left_out)
        yield f"Not in the table: {which}."


def _verdict(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "not significant"


def _interval(rank: dict[str, float]) -> str:
    return f"{rank['value']:.2f} ({rank['low']:.2f} to {rank['high']:.2f})"
