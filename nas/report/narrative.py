"""The finding of a study in sentences, each with its uncertainty."""

from __future__ import annotations

import math
from typing import Any

from nas.format import format_number
from nas.report.analysis import StudyData, choice_label
from nas.report.effects import ALL_STAGES, Difference, Importance, open_stages
from nas.study.front import chance_note
from nas.study.objectives import OBJECTIVES, percent

DCT = "DCT (dynamic clone transformer)"
FEW = 20  # finished networks, below which a front is called provisional


def points(difference: float) -> str:
    """A difference of accuracies in points of per cent, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def describe_finding(
    data: StudyData, differences: list[Difference], weights: Importance | None
) -> list[str]:
    """Sentences on the front, on DCT against pointwise expansions, and on the other choices."""
    if not data.members:
        return [_nothing(data)]
    return [
        *filter(None, [chance_note(data.members, data.config)]),
        _describe_front(data),
        _describe_expansions(data, differences),
        *_describe_importance(weights),
        _describe_noise(data),
    ]


def _describe_noise(data: StudyData) -> str:
    once = "Each network was trained once on a short schedule"
    advice = "retrain before relying on differences of a few tenths of a point."
    if not data.modelled:
        return (
            f"{once}. With so few trials the estimates are the measurements, and a front selects "
            f"the highest of them: {advice}"
        )
    front = data.front
    optimism = (front["accuracy"] - front["estimate"]).mean()
    expected = front["front_probability"].sum()
    return (
        f"{once}, and a front selects high measurements. The estimates correct for that with the "
        f"results of all trials; they differ from the measurements of the front by "
        f"{points(-optimism)} points on average. Of its "
        f"{format_number(len(front), 'network')}, {expected:.1f} are expected to be on the front "
        f"without the noise of measurement: {advice}"
    )


def _nothing(data: StudyData) -> str:
    counts = data.counts
    if not counts:
        return "No network has been trained yet, so there is nothing to report."
    ended = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"No network was trained to the end ({ended}), so there is no front."


def _describe_front(data: StudyData) -> str:
    front, name = data.front, data.cost
    cost = OBJECTIVES[name]
    rows = front.to_dict("records")
    best, cheapest = max(rows, key=lambda row: row["estimate"]), rows[0]
    count = len(data.finished)
    if len(front) == 1:
        text = (
            f"Of {format_number(count, 'network')} trained to the end one is best in every "
            f"objective: {percent(best['estimate'])} at {cost.describe(best[name])}."
        )
    else:
        text = (
            f"{len(front)} of {format_number(count, 'network')} trained to the end make the front, "
            f"from {percent(cheapest['estimate'])} at {cost.describe(cheapest[name])} to "
            f"{percent(best['estimate'])} at {cost.format(best[name])}, as estimated."
        )
    for knee in (row for row in rows if row["knee"]):
        text += (
            f" The knee, the member at the end of the last steep step, is {knee['arch_id']}: "
            f"{percent(knee['estimate'])} at {cost.format(knee[name])}"
            f"{_slopes(cheapest, knee, best, name)}."
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
    gained = (knee["estimate"] - cheapest["estimate"]) / before
    left = (best["estimate"] - knee["estimate"]) / after
    return (
        f"; up to it a doubling of the cost buys {100 * gained:.1f} points of accuracy, "
        f"beyond it {100 * left:.1f}"
    )


def _describe_expansions(data: StudyData, differences: list[Difference]) -> str:
    if not open_stages(data):
        return f"The space leaves no choice between {DCT} and pointwise expansions."
    if not differences:
        return (
            "Too few networks of either kind were trained to the end "
            f"({len(data.finished)} in all) to say where {DCT} expansions are "
            "more accurate than pointwise ones at equal cost."
        )
    undecided = sum(d.sign == 0 for d in differences)
    if undecided == len(differences):
        widest = max((d.upper - d.lower) / 2 for d in differences)
        return (
            f"Between {DCT} and pointwise expansions no difference in accuracy "
            f"at equal cost is significant in any of "
            f"{format_number(len(differences), 'comparison')} (up to ±{100 * widest:.1f} points): "
            "this study does not decide between them."
        )
    sentences = [
        f"{words} at equal cost {_join(places)}."
        for sign, words in (
            (1, f"{DCT} is more accurate than pointwise"),
            (-1, f"Pointwise is more accurate than {DCT}"),
        )
        if (places := _places(data, differences, sign))
    ]
    if undecided:
        sentences.append(
            f"In {undecided} of {format_number(len(differences), 'comparison')} the difference is "
            "not significant."
        )
    sentences.append(
        "Intervals hold jointly with 95 % confidence, for the networks that this search chose "
        "to train."
    )
    return " ".join(sentences)


def _places(data: StudyData, differences: list[Difference], sign: int) -> list[str]:
    """Where one expansion is better; one phrase for a stage in which it always is."""
    places = []
    for stage in sorted({d.stage for d in differences}):
        where = "in all stages" if stage == ALL_STAGES else f"in stage {stage}"
        cells = [d for d in differences if d.stage == stage]
        won = [d for d in cells if d.sign == sign]
        if len(won) == len(cells) > 1:
            sizes = sorted(100 * abs(d.estimate) for d in won)
            places.append(
                f"{where} at every cost compared (by {sizes[0]:.1f} to {sizes[-1]:.1f} points)"
            )
        else:
            places += [f"{where} {_extent(data, d)}" for d in won]
    return places


def _extent(data: StudyData, d: Difference) -> str:
    low, high = sorted((100 * abs(d.lower), 100 * abs(d.upper)))
    return (
        f"from {OBJECTIVES[data.cost].format(d.low)} to {OBJECTIVES[data.cost].format(d.high)} "
        f"(by {100 * abs(d.estimate):.1f} points, {low:.1f} to {high:.1f})"
    )


def _join(places: list[str]) -> str:
    return places[0] if len(places) == 1 else ", ".join(places[:-1]) + " and " + places[-1]


def _describe_importance(weights: Importance | None) -> list[str]:
    if weights is None:
        return []
    if weights.explained < 0.05:
        return [
            "At equal cost, an additive model of the choices explains almost none of the "
            "variance of accuracy."
        ]
    top = [effect for effect in weights.choices if effect.share > 2 * effect.spread][:3]
    if not top:
        return []
    named = _join([f"{choice_label(e.name)} ({100 * e.share:.0f} %)" for e in top])
    return [
        f"At equal cost, the choices explain {100 * weights.explained:.0f} % of the remaining "
        f"variance of accuracy; the most important are {named}."
    ]
