"""The finding of a study in words, each with its uncertainty, and none without data."""

from __future__ import annotations

import math
from typing import Any

from nas.format import format_count, format_number
from nas.report.analysis import StudyData, choice_label
from nas.report.effects import ALL_STAGES, Difference, Importance, open_stages
from nas.study.objectives import COST_LABELS

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
    found: StudyData, differences: list[Difference], weights: Importance | None
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


def _nothing(found: StudyData) -> str:
    counts = found.trials["state"].value_counts()
    if counts.empty:
        return "No network has been trained yet, so there is nothing to report."
    ended = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"No network was trained to the end ({ended}), so there is no front."


def _describe_front(found: StudyData) -> str:
    front, name = found.front, found.cost
    rows = front.to_dict("records")
    best, cheapest = max(rows, key=lambda row: row["accuracy"]), rows[0]
    knee = next(row for row in rows if row["knee"])
    count = len(found.finished)
    if len(front) == 1:
        text = (
            f"Of {format_number(count, 'network')} trained to the end one is best in everything: "
            f"{percent(best['accuracy'])} at {format_cost(name, best[name])}."
        )
    else:
        text = (
            f"{len(front)} of {format_number(count, 'network')} trained to the end make the front, "
            f"from {percent(cheapest['accuracy'])} at {format_cost(name, cheapest[name])} to "
            f"{percent(best['accuracy'])} at {bare_cost(name, best[name])}. "
            f"The knee is {knee['arch_id']}: {percent(knee['accuracy'])} at "
            f"{bare_cost(name, knee[name])}{_slopes(cheapest, knee, best, name)}."
        )
    if count < FEW:
        text += f" With only {format_number(count, 'network')} this front is provisional."
    return text


def _slopes(cheapest: Any, knee: Any, best: Any, name: str) -> str:
    """What a doubling of the cost buys before and after the knee."""
    before = math.log2(knee[name] / cheapest[name])
    after = math.log2(best[name] / knee[name]) if best[name] > knee[name] else 0.0
    if before < 0.5 or after < 0.5:
        return ""
    gained = (knee["accuracy"] - cheapest["accuracy"]) / before
    left = (best["accuracy"] - knee["accuracy"]) / after
    return (
        f"; up to it a doubling of the cost buys {100 * gained:.1f} points of accuracy, "
        f"beyond it {100 * left:.1f}"
    )


def _describe_expansions(found: StudyData, differences: list[Difference]) -> str:
    if not open_stages(found):
        return "The space leaves no choice between DCT and pointwise expansions."
    if not differences:
        return (
            "Too few networks of either kind were trained to the end "
            f"({len(found.finished)} in all) to say where DCT beats pointwise at equal cost."
        )
    undecided = sum(d.sign == 0 for d in differences)
    if undecided == len(differences):
        widest = max((d.upper - d.lower) / 2 for d in differences)
        return (
            "Between DCT and pointwise no difference in accuracy at equal cost is beyond its "
            f"uncertainty in any of {len(differences)} comparisons (up to ±{100 * widest:.1f} "
            "points): this study does not decide between them."
        )
    sentences = [
        f"{words} at equal cost {_join(places)}."
        for sign, words in ((1, "DCT beats pointwise"), (-1, "Pointwise beats DCT"))
        if (places := _places(found, differences, sign))
    ]
    if undecided:
        sentences.append(
            f"In {undecided} of {len(differences)} comparisons the difference is within its "
            "uncertainty."
        )
    sentences.append(
        "Intervals hold jointly with 95 % confidence, for the networks that this search chose "
        "to train."
    )
    return " ".join(sentences)


def _places(found: StudyData, differences: list[Difference], sign: int) -> list[str]:
    """Where one expansion is better, in short for a stage where it always is."""
    places = []
    for stage in sorted({d.stage for d in differences}):
        where = "taken in all stages" if stage == ALL_STAGES else f"in stage {stage}"
        cells = [d for d in differences if d.stage == stage]
        won = [d for d in cells if d.sign == sign]
        if len(won) == len(cells) > 1:
            sizes = sorted(100 * abs(d.estimate) for d in won)
            places.append(
                f"{where} at every cost compared (by {sizes[0]:.1f} to {sizes[-1]:.1f} points)"
            )
        else:
            places += [f"{where} {_extent(found, d)}" for d in won]
    return places


def _extent(found: StudyData, d: Difference) -> str:
    low, high = sorted((100 * abs(d.lower), 100 * abs(d.upper)))
    return (
        f"from {bare_cost(found.cost, d.low)} to {bare_cost(found.cost, d.high)} "
        f"(by {100 * abs(d.estimate):.1f} points, {low:.1f} to {high:.1f})"
    )


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
    top = [effect for effect in weights.choices if effect.share > 2 * effect.spread][:3]
    if not top:
        return []
    named = _join([f"{choice_label(e.name)} ({100 * e.share:.0f} %)" for e in top])
    return [
        f"At given cost the choices explain {100 * weights.explained:.0f} % of the variance of "
        f"accuracy that is left; the most important are {named}."
    ]
