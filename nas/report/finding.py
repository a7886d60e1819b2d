"""The finding of a study in words, each with its uncertainty, and none without data."""

from __future__ import annotations

import math

from nas.cli import format_count
from nas.report.analysis import COST_LABELS, Record, choice_label
from nas.report.effects import ALL_STAGES, Difference, Importance, open_stages

FEW = 20  # finished networks, below which a front is called provisional


def format_cost(name: str, value: float) -> str:
    """A cost with its unit: `1.2 M FLOPs (multiply-adds)`, `3.1 ms`."""
    if name == "latency":
        return f"{1e3 * value:.3g} ms"
    return f"{format_count(value)} {COST_LABELS[name]}"


def bare_cost(name: str, value: float) -> str:
    """A cost where its name stands nearby: `1.2 M`, `3.1 ms`."""
    return format_cost(name, value) if name == "latency" else format_count(value)


def percent(accuracy: float) -> str:
    """An accuracy in per cent."""
    return f"{100 * accuracy:.2f} %"


def points(difference: float) -> str:
    """A difference of accuracies in points of per cent, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def describe_finding(
    found: Record, differences: list[Difference], weights: Importance | None
) -> list[str]:
    """Sentences on the front, on DCT against pointwise, and on what else matters."""
    if not found.members:
        return [_nothing(found)]
    return [
        _describe_front(found),
        _describe_expansions(found, differences),
        *_describe_importance(weights),
        "Each network was trained once on a short schedule, and the front is made of the luckiest "
        "of them: retrain before trusting differences of a few tenths of a point.",
    ]


def _nothing(found: Record) -> str:
    counts = found.trials["state"].value_counts()
    if counts.empty:
        return "No network has been trained yet, so there is nothing to report."
    ended = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"No network was trained to the end ({ended}), so there is no front."


def _describe_front(found: Record) -> str:
    front, name = found.front, found.cost
    best, cheapest = front.loc[front["accuracy"].idxmax()], front.iloc[0]
    knee = front[front["knee"]].iloc[0]
    count = len(found.finished)
    if len(front) == 1:
        text = (
            f"Of {_networks(count)} trained to the end one is best in everything: "
            f"{percent(best['accuracy'])} at {format_cost(name, best[name])}."
        )
    else:
        text = (
            f"{len(front)} of {_networks(count)} trained to the end make the front, from "
            f"{percent(cheapest['accuracy'])} at {format_cost(name, cheapest[name])} to "
            f"{percent(best['accuracy'])} at {bare_cost(name, best[name])}. "
            f"The knee is {knee['arch_id']}: {percent(knee['accuracy'])} at "
            f"{bare_cost(name, knee[name])}{_slopes(cheapest, knee, best, name)}."
        )
    if count < FEW:
        text += f" With only {_networks(count)} this front is provisional."
    return text


def _networks(count: int) -> str:
    return "1 network" if count == 1 else f"{count:,} networks"


def _slopes(cheapest: dict, knee: dict, best: dict, name: str) -> str:  # type: ignore[type-arg]
    """What a doubling of the cost buys before and after the knee."""
    before = math.log2(knee[name] / cheapest[name])
    after = math.log2(best[name] / knee[name]) if best[name] > knee[name] else 0.0
    if before < 0.5 or after < 0.5:
        return ""
    gained = (knee["accuracy"] - cheapest["accuracy"]) / before
    left = (best["accuracy"] - knee["accuracy"]) / after
    return (
        f"; up to it a doubling of the cost buys {100 * gained:.2f} points of accuracy, "
        f"beyond it {100 * left:.2f}"
    )


def _describe_expansions(found: Record, differences: list[Difference]) -> str:
    if not open_stages(found):
        return "The space leaves no choice between DCT and pointwise expansions."
    if not differences:
        return (
            "Too few networks of either kind were trained to the end "
            f"({len(found.finished)} in all) to say where DCT beats pointwise at equal cost."
        )
    if not any(d.sign for d in differences):
        widest = max((d.upper - d.lower) / 2 for d in differences)
        return (
            "Between DCT and pointwise no difference in accuracy at equal cost is beyond its "
            f"uncertainty in any of {len(differences)} comparisons (up to ±{100 * widest:.1f} "
            "points): this study does not decide between them."
        )
    overall = [d for d in differences if d.stage == ALL_STAGES]
    single = [d for d in differences if d.stage != ALL_STAGES]
    parts = []
    if overall:
        cells = _join([_verdict(found, d) for d in overall])
        parts.append(f"At equal cost, DCT in every stage against pointwise in every stage: {cells}.")
    stages = sorted({d.stage for d in single})
    by_stage = [_stage(found, [d for d in single if d.stage == stage]) for stage in stages]
    parts.append(("Stage by stage: " if overall else "At equal cost: ") + "; ".join(by_stage) + ".")
    parts.append(
        "The intervals hold jointly with 95 % confidence, for the networks that this search "
        "chose to train."
    )
    return " ".join(parts)


def _winner(d: Difference) -> str:
    return {1: "DCT is better", -1: "pointwise is better", 0: "undecided"}[d.sign]


def _range(found: Record, d: Difference) -> str:
    return f"from {bare_cost(found.cost, d.low)} to {bare_cost(found.cost, d.high)}"


def _verdict(found: Record, d: Difference) -> str:
    """Who wins in a range of cost, and by how much."""
    flip = -1 if d.sign < 0 else 1
    low, high = sorted((flip * d.lower, flip * d.upper))
    return (
        f"{_winner(d)} {_range(found, d)} "
        f"({points(flip * d.estimate)} points, {points(low)} to {points(high)})"
    )


def _stage(found: Record, cells: list[Difference]) -> str:
    """One stage over all ranges of cost, in short where they agree."""
    if len({d.sign for d in cells}) > 1:
        places = _join([f"{_winner(d)} {_range(found, d)}" for d in cells])
        return f"in stage {cells[0].stage} {places}"
    sizes = sorted(abs(d.estimate) for d in cells)
    size = f"{100 * sizes[0]:.2f}"
    size += "" if len(sizes) == 1 else f" to {100 * sizes[-1]:.2f}"
    by = "" if cells[0].sign == 0 else f" by {size} points"
    return f"in stage {cells[0].stage} {_winner(cells[0])}{by} at every cost"


def _join(places: list[str]) -> str:
    return places[0] if len(places) == 1 else ", ".join(places[:-1]) + " and " + places[-1]


def _describe_importance(weights: Importance | None) -> list[str]:
    if weights is None:
        return []
    if weights.explained < 0.05:
        return [
            "At given cost the choices explain next to nothing of the differences in accuracy "
            "that a simple additive model can find."
        ]
    top = weights.table[weights.table["share"] > 2 * weights.table["spread"]].head(3)
    if top.empty:
        return []
    named = _join([f"{choice_label(row.choice)} ({100 * row.share:.0f} %)" for row in top.itertuples()])
    return [
        f"At given cost the choices explain {100 * weights.explained:.0f} % of the variance of "
        f"accuracy that is left; the most important are {named}."
    ]
