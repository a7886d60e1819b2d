"""Values of a search's options that are more than a number or a word."""

from __future__ import annotations

import math
import re


def parse_failures(text: str, budget: int) -> int:
    """`--max-failures`: a number of trials, or a share of the budget such as `20%` or `0.2`.

    Raises:
        ValueError: it is neither.
    """
    match = re.fullmatch(r"(\d{1,7})|(\d{1,3}(?:\.\d{1,6})?)%|(\d?\.\d{1,6})", text.strip())
    if match is None:
        share = math.inf
    elif match[1]:
        return int(match[1])
    else:
        share = float(match[2]) / 100 if match[2] else float(match[3])
    if share > 1:
        raise ValueError(
            f"--max-failures: {text[:40]!r}; accepted: a number such as 10, or a share of the "
            "budget such as 20% or 0.2"
        )
    return math.floor(share * budget + 1e-9)


def parse_channels(text: str) -> int | None:
    """`--channels`: 1, 3, or None for auto.

    Raises:
        ValueError: it is neither.
    """
    if text not in ("auto", "1", "3"):
        raise ValueError(f"--channels: {text[:40]!r}; accepted: auto, 1, 3")
    return None if text == "auto" else int(text)
