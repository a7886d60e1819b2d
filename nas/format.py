"""Numbers as text: `20.3 M`, `3 min 5 s`, `1,200 networks`; and options read as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SUFFIXES = {"": 1, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}
# Seconds of each unit.
_DURATIONS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_LATENCIES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_quantity(option: str, text: str | None) -> int | None:
    """The value of an option such as `20M`, `1.5G`, `300K` or a plain number, as an integer.

    Args:
        option: name of the option, for the message.
        text: what the user gave; None stays None.

    Raises:
        ValueError: `text` is not such a number.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([KMG]?)", text.strip(), re.IGNORECASE)
    value = round(float(match[1]) * _SUFFIXES[match[2].upper()]) if match else 0
    if value < 1:
        raise ValueError(f"{option}: {text!r}; accepted: a number over 0 such as 300K, 20M, 1.5G")
    return value


def parse_bytes(option: str, text: str | None) -> int | None:
    """The value of an option such as `256k`, `1.5M`, `512 KiB` or plain bytes; k is 1024 bytes.

    Args:
        option: name of the option, for the message.
        text: what the user gave; None stays None.

    Raises:
        ValueError: `text` is not such a number.
    """
    if text is None:
        return None
    pattern = r"(\d{1,15}(?:\.\d{1,6})?) ?(?:([KMG])(?:i?B)?|B)?"
    match = re.fullmatch(pattern, text.strip(), re.IGNORECASE)
    value = int(float(match[1]) * 1024 ** " KMG".index((match[2] or " ").upper())) if match else 0
    if value < 1:
        raise ValueError(
            f"{option}: {text[:40]!r}; accepted: bytes such as 65536, 256k or 1M, k being 1024"
        )
    return value


def parse_duration(option: str, text: str | None) -> float | None:
    """The value of an option such as `90s`, `30m`, `2h`, `1d` or plain seconds, in seconds.

    Args:
        option: name of the option, for the message.
        text: what the user gave; None stays None.

    Raises:
        ValueError: `text` is not a duration.
    """
    return _parse_seconds(option, text, _DURATIONS, "a duration such as 90s, 30m, 2h")


def parse_latency(option: str, text: str | None) -> float | None:
    """The value of an option such as `5ms`, `250us` or `1s`, in seconds; a unit is needed.

    Args:
        option: name of the option, for the message.
        text: what the user gave; None stays None.

    Raises:
        ValueError: `text` is not such a latency.
    """
    return _parse_seconds(option, text, _LATENCIES, "a latency such as 5ms, 250us or 1s")


def _parse_seconds(
    option: str, text: str | None, units: Mapping[str, float], accepted: str
) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?) ?([a-z]*)", text.strip())
    seconds = float(match[1]) * units.get(match[2], 0.0) if match else 0.0
    if seconds <= 0:
        raise ValueError(f"{option}: {text[:40]!r}; accepted: {accepted}")
    return seconds


def three_digits(value: float) -> str:
    """A number with three significant digits and no exponent: `0.52`, `20.3`, `1234`."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def format_count(value: float) -> str:
    """A count with three digits: `412 k`, `20.3 M`, `1.25 G`."""
    rounded = float(f"{value:.3g}")  # 999,600 is 1 M, not 1000 k
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if rounded >= size:
            return f"{three_digits(value / size)}{suffix}"
    return f"{value:.0f}"


def format_bytes(value: float) -> str:
    """Bytes with three digits: `812 B`, `218 KiB`, `1.25 MiB`."""
    for size, suffix in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if value >= size:
            return f"{three_digits(value / size)} {suffix}"
    return f"{value:.0f} B"


def format_latency(seconds: float) -> str:
    """Milliseconds with three digits: `0.52 ms`, `1234 ms`."""
    return f"{three_digits(1e3 * seconds)} ms"


def format_number(count: float, noun: str, plural: str | None = None) -> str:
    """`1 network`, `1,200 networks`, `0.5 CPUs`.

    Args:
        count: of things; a number that is not whole is written as `%g` does.
        noun: the singular.
        plural: where it is not the singular with an s.
    """
    number = f"{int(count):,}" if count == int(count) else f"{count:g}"
    return f"{number} {noun if count == 1 else plural or noun + 's'}"


def format_duration(seconds: float) -> str:
    """A duration in its two largest units: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def one_line(text: str) -> str:
    """Text on one line, without control characters that a hostile file may contain."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
