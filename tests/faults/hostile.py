"""Mutations of good files into hostile ones, from a seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

HOSTILE: tuple[Callable[[], Any], ...] = (
    lambda: 10**400,
    lambda: -(10**30),
    lambda: 1e308,
    lambda: -1,
    lambda: 0,
    lambda: True,
    lambda: None,
    lambda: 0.5,
    lambda: "",
    lambda: "../../../etc/passwd",
    lambda: "/dev/zero",
    lambda: "a\x00b\nc\x1b[2J",
    lambda: "x" * 5000,
    lambda: "\u202e\ufeff\ud7ff",
    lambda: "!!python/object/apply:os.system [id]",
    lambda: [],
    lambda: {},
    lambda: [[]] * 50,
    lambda: list(range(3000)),
    lambda: _nested(40),
    lambda: {"width": 16, "stride": 1, "repeats": 1, "p": 2},
    lambda: {str(i): i for i in range(500)},
    lambda: ["dct"] * 100,
    lambda: "1_000",
    lambda: "0x10",
    lambda: "2024-13-45",
    lambda: 1 << 63,
)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def mutate_value(value: Any, rng: random.Random) -> Any:
    """A copy with one to three places changed: a hostile value, a key less, more or twice."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        container, key = rng.choice(places)
        match rng.randint(0, 5):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, dict):
                container[rng.choice(["extra", "", "__class__", "a\nb"])] = rng.choice(HOSTILE)()
            case 2 if isinstance(container, list):
                container[:] = container * rng.choice([0, 2, 30])
            case 3 if isinstance(container[key], int | float):
                container[key] = container[key] * rng.choice([-1, 0.5, 1000, 10**30])
            case _:
                container[key] = rng.choice(HOSTILE)()
    return value


def _places(value: Any) -> Any:
    """Every (container, key) of nested plain values; at least one."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in list(items):
        yield value, key
        if isinstance(child, dict | list):
            yield from _places(child)
    if not value:
        yield {"x": value}, "x"


def mutate_bytes(text: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, moved or put in."""
    data = bytearray(text)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        length = rng.choice([1, 1, 2, 10, 100])
        match rng.randint(0, 5):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length] * rng.choice([1, 3, 50])
            case 3:
                data[at:at] = rng.randbytes(length)
            case 4:
                data[at:at] = rng.choice(_TOKENS)
            case _:
                del data[at:]
        if not data:
            break
    return bytes(data)


_TOKENS = tuple(
    token.encode()
    for token in (
        *("{", "}", "[", "]", ":", ",", '"', "'", "\n", "\t", "- ", "? ", "&a ", "*a", "<<: *a"),
        *("!!python/name:os.system", "!!binary ", "!!set ", "!!timestamp ", "%YAML 9.9\n", "---\n"),
        *("|\n", ">\n", "#", "NaN", "Infinity", "1e999", "9" * 5000, "[" * 300, "{" * 300),
        *("\x00", "\ufeff", "null", "~", "true", ".inf", "0o17", "1:30:00", "=", "@", "`"),
    )
)


def hostile_text(good: dict[str, Any], dump: Callable[[Any], str], rng: random.Random) -> bytes:
    """A hostile file made of a good one: its values changed, or its bytes, or both."""
    value = mutate_value(good, rng) if rng.random() < 0.7 else good
    try:
        text = dump(value).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, RecursionError):
        text = json.dumps(good).encode()
    return mutate_bytes(text, rng) if rng.random() < 0.5 else text
