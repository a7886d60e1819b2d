"""Tables of the reference run."""

from __future__ import annotations

from scipy import stats

from benchmarks.docs_tables.markdown import REFERENCE, read, table
from nas.format import format_count
from nas.report.comparison_plots import comparison_rows


def reference_networks() -> str:
    """Test accuracies of the reference run."""
    rows = comparison_rows(read(REFERENCE / "retrained" / "summary.json"))
    return table(
        ["network", "FLOPs", "parameters", "seeds", "test accuracy"],
        ([row[key] for key in ("network", "macs", "params", "seeds", "test")] for row in rows),
    )


def reference_differences() -> str:
    """Differences of the reference run with intervals, as they are and for all jointly."""
    summary = read(REFERENCE / "retrained" / "summary.json")
    rows, degrees = summary["differences"], summary["noise"]["degrees_of_freedom"]
    twins = sum(row["family"] == "twin" for row in rows)
    alpha = 1 - summary["confidence"]
    single, joint = (stats.t.ppf(1 - alpha / 2 / n, degrees) for n in (1, twins))
    seeds = {row["name"]: row["seeds"] for row in summary["networks"]}
    lines = []
    for row in rows:
        middle, low, high = (100 * row[name] for name in ("difference", "low", "high"))
        half = (high - low) / 2 * joint / single
        adjusted = (
            f"{middle - half:+.2f} to {middle + half:+.2f}" if row["family"] == "twin" else ""
        )
        both = f"{seeds[row['network']]} and {seeds[row['reference']]}"
        lines.append([
            f"{row['network']} − {row['reference']}", f"{row['macs_ratio']:.2f}", both,
            f"{middle:+.2f}", f"{low:+.2f} to {high:+.2f}", adjusted or "–",
        ])  # fmt: skip
    return table(
        ["difference", "FLOPs, reference / network", "seeds", "points", "95 % interval",
         f"adjusted for {twins} twins"],
        lines,
    )  # fmt: skip


def reference_noise() -> str:
    """Where the intervals come from."""
    noise = read(REFERENCE / "retrained" / "summary.json")["noise"]
    return (
        f"Intervals are from a standard deviation of {100 * noise['sd']:.2f} points between "
        f"seeds, pooled over the networks of two seeds ({noise['degrees_of_freedom']:g} degrees of "
        "freedom).\n"
    )


def reference_60_epochs() -> str:
    """The network that was trained for the whole recipe."""
    (folder,) = (REFERENCE / "60-epochs" / "retrained").glob("*/")
    metrics = read(folder / "metrics.json")
    return table(
        ["network", "FLOPs", "parameters", "epochs", "seeds", "test accuracy"],
        [[folder.name, format_count(metrics["macs"]), format_count(metrics["params"]),
          str(metrics["epochs"]), "1", f"{100 * metrics['test_accuracy']:.2f} %"]],
    )  # fmt: skip
