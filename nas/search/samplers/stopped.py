"""What trials that were stopped early say about the accuracy they would have reached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Curve = Sequence[tuple[int, float]]

ENOUGH = 5  # finished trials with the same epoch; fewer teach no offset
SLOPE_WEIGHT = 2.0  # prior weight of "error falls by the same factor for all"


def final_error(
    curve: Curve, finished: Sequence[tuple[Curve, float]], floor: float
) -> tuple[float, float] | None:
    """Log of the final error that a stopped trial points to, and the variance of that.

    A line through the finished trials' (log error at that epoch, log final error), its
    slope drawn towards 1; the spread around the line is the variance. Uses the last
    epoch of `curve` that enough finished trials have too.

    Args:
        curve: (epoch, accuracy) of the stopped trial.
        finished: curve and final error of each finished trial.
        floor: errors below it count as this much.
    """
    for epoch, accuracy in sorted(curve, reverse=True):
        pairs = np.array(
            [
                (max(floor, 1.0 - at), max(floor, final))
                for other, final in finished
                for reached, at in other
                if reached == epoch
            ]
        )
        if len(pairs) < ENOUGH:
            continue
        x, y = np.log(pairs).T
        dx = x - x.mean()
        weight = SLOPE_WEIGHT * max(float(x.var()), 1e-6)
        slope = (float(dx @ (y - y.mean())) + weight) / (float(dx @ dx) + weight)
        here = float(np.log(max(floor, 1.0 - accuracy)) - x.mean())
        rest = y - y.mean() - slope * dx
        variance = float(rest @ rest) / (len(pairs) - 2)
        # The line is less certain away from the trials that it was fitted to.
        away = 1.0 / len(pairs) + here * here / (float(dx @ dx) + weight)
        return float(y.mean() + slope * here), variance * (1.0 + away) + 1e-6
    return None
