"""Settings encoded as integers, one for each choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.space.space import Choice, Setting

Code = tuple[int, ...]


class Encoding:
    """Codes of a space: the position of each value, `len(values)` where a choice has no effect.

    Args:
        choices: of the space; a condition comes before the choices that depend on it.

    Raises:
        ValueError: one line that names the choice, what is wrong and what is accepted.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = tuple(choices)
        _check(self.choices)
        self.sizes = tuple(len(choice.values) for choice in self.choices)
        self._sizes = np.array(self.sizes)
        self._position = [{value: i for i, value in enumerate(c.values)} for c in self.choices]
        names = {choice.name: index for index, choice in enumerate(self.choices)}
        self._needs: list[tuple[int, int] | None] = [
            None
            if choice.needs is None
            else (
                names[choice.needs[0]],
                self.choices[names[choice.needs[0]]].values.index(choice.needs[1]),
            )
            for choice in self.choices
        ]
        self._switches = {need[0] for need in self._needs if need is not None}

    def encode(self, setting: Mapping[str, Any]) -> Code | None:
        """Encode a setting; None if a value is missing or not in the space.

        A choice of a single value may be missing: it is no parameter of the study.
        """
        code: list[int] = []
        for index, choice in enumerate(self.choices):
            if not self._active(index, code):
                code.append(self.sizes[index])
            elif choice.name not in setting and self.sizes[index] == 1:
                code.append(0)
            else:
                try:
                    code.append(self._position[index][setting[choice.name]])
                except (KeyError, TypeError):
                    return None
        return tuple(code)

    def decode(self, code: Sequence[int]) -> Setting:
        """The setting of a code: the values of all choices that have an effect."""
        return {
            choice.name: choice.values[value]
            for choice, value, size in zip(self.choices, code, self.sizes, strict=True)
            if value < size
        }

    def size(self, limit: int) -> int:
        """Number of settings, at most `limit`."""
        always = [size for size, need in zip(self.sizes, self._needs, strict=True) if need is None]
        if len(always) == len(self.sizes) or math.prod(always) >= limit:
            return min(limit, math.prod(always))
        return sum(1 for _ in itertools.islice(self.all(), limit))

    def all(self) -> Iterator[Code]:
        """Every code once, in lexicographic order."""
        return self._extend([])

    def samples(self, count: int, rng: np.random.Generator) -> list[Code]:
        """Draw `count` codes; each choice that has an effect is uniform."""
        drawn = rng.integers(self._sizes, size=(count, len(self._sizes)))
        for index, need in enumerate(self._needs):
            if need is not None:
                drawn[drawn[:, need[0]] != need[1], index] = self._sizes[index]
        return list(map(tuple, drawn.tolist()))

    def repair(self, wanted: Sequence[int], rng: np.random.Generator) -> Code:
        """Make `wanted` satisfy all conditions; values that it lacks are drawn uniformly."""
        code: list[int] = []
        for index, value in enumerate(wanted):
            size = self.sizes[index]
            if not self._active(index, code):
                code.append(size)
            elif 0 <= value < size:
                code.append(value)
            else:
                code.append(int(rng.integers(size)))
        return tuple(code)

    def mutate(self, code: Code, rng: np.random.Generator) -> Code:
        """Draw one choice that has an effect again, and the choices that it switches on."""
        active = [i for i, size in enumerate(self.sizes) if code[i] < size]
        index = active[rng.integers(len(active))]
        value = int(rng.integers(self.sizes[index]))
        return self.repair((*code[:index], value, *code[index + 1 :]), rng)

    def neighbours(self, code: Code, rng: np.random.Generator) -> list[Code]:
        """All codes that differ in one choice.

        A choice that the change switches on takes each of its values in turn, while others
        that are switched on with it are drawn.
        """
        codes = []
        for index, size in enumerate(self.sizes):
            if code[index] < size:
                for value in range(size):
                    if value != code[index]:
                        wanted = (*code[:index], value, *code[index + 1 :])
                        if index in self._switches:
                            codes += self._completions(wanted, rng)
                        else:
                            codes.append(wanted)
        return codes

    def _completions(self, wanted: Code, rng: np.random.Generator) -> list[Code]:
        """`wanted` repaired, once for each value of each choice that it switches on."""
        first = self.repair(wanted, rng)
        switched = [i for i, size in enumerate(self.sizes) if wanted[i] == size > first[i]]
        return [first] + [
            self.repair((*wanted[:i], value, *wanted[i + 1 :]), rng)
            for i in switched
            for value in range(self.sizes[i])
            if value != first[i]
        ]

    def cross(self, a: Code, b: Code, rng: np.random.Generator) -> Code:
        """Uniform crossover: each choice is from one of two parents."""
        from_a = rng.random(len(a)) < 0.5
        return self.repair([x if f else y for x, y, f in zip(a, b, from_a, strict=True)], rng)

    def array(self, codes: Sequence[Code]) -> NDArray[np.int64]:
        """[N, choices]."""
        return np.array(codes, dtype=np.int64).reshape(len(codes), len(self.choices))

    def _active(self, index: int, before: Sequence[int]) -> bool:
        need = self._needs[index]
        return need is None or before[need[0]] == need[1]

    def _extend(self, before: list[int]) -> Iterator[Code]:
        index = len(before)
        if index == len(self.choices):
            yield tuple(before)
            return
        size = self.sizes[index]
        for value in range(size) if self._active(index, before) else (size,):
            yield from self._extend([*before, value])


def _check(choices: Sequence[Choice]) -> None:
    if not choices:
        raise ValueError("choices: none; accepted: at least one")
    before: dict[str, Choice] = {}
    for choice in choices:
        if choice.name in before:
            raise ValueError(f"choices: {choice.name} occurs twice; accepted: once")
        if not choice.values or len(set(choice.values)) < len(choice.values):
            raise ValueError(
                f"choices: values {choice.values} of {choice.name}; "
                "accepted: one or more, different"
            )
        if choice.needs is not None:
            name, value = choice.needs
            if name not in before or value not in before[name].values:
                raise ValueError(
                    f"choices: {choice.name} needs {value!r} of {name}; "
                    "accepted: a value of a choice before it"
                )
        before[choice.name] = choice
