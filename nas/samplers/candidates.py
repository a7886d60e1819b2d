"""Which architectures a sampler looks at, with their costs, each once.

A small space is looked at as a whole. Of a large one: a pool that is spread evenly over
the range of log cost, the neighbours and crossings of the front, some random ones, and
hill climbing from there. Few random architectures are nearly as small as the smallest
one, so the pool has mutations of those few.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.samplers.encoding import Code, Encoding
from nas.space.space import Setting

Array = NDArray[np.float64]
Costs = Callable[[Mapping[str, Any]], tuple[float, ...]]

WHOLE = 20_000  # settings up to which a space is looked at as a whole
DRAWN = 4_000  # random codes that the pool of a large space is chosen from
POOL = 3_000
BINS = 30  # of log cost, filled evenly
MUTATIONS = 3_000  # tried at most, to fill bins that random codes seldom reach
CROSSINGS = 80
FRESH = 40
CLIMBERS = 4  # of each round of hill climbing


class Known(NamedTuple):
    """What is known of a code before anything is trained."""

    costs: tuple[float, ...]  # log10 of each known objective
    usable: bool  # within the limits, and feasible
    identity: int  # equal for codes of one architecture, and different for those of two


class Candidates:
    """The candidates of a space, within limits, one code for each architecture.

    Args:
        costs: values of the known objectives for a setting, in the study's order.
        limits: the largest value of each known objective; None where there is none.
        feasible: False for settings that are not to be suggested.
        identity: equal for settings that build the same architecture.

    Raises:
        ValueError: costs are no positive numbers, or not as many as limits.
    """

    def __init__(
        self,
        encoding: Encoding,
        costs: Costs,
        *,
        limits: Sequence[float | None] | None,
        feasible: Callable[[Mapping[str, Any]], bool] | None,
        identity: Callable[[Mapping[str, Any]], Hashable] | None,
        seed: Sequence[int],
    ) -> None:
        self.encoding = encoding
        self._costs, self._limits = costs, limits
        self._feasible, self._identity = feasible, identity
        self._known: dict[Code, Known] = {}
        self._numbers: dict[Hashable, int] = {}  # of identities
        self.whole = encoding.size(WHOLE + 1) <= WHOLE
        rng = np.random.default_rng(seed)
        if self.whole:
            self.codes = self._usable(encoding.all())
        else:
            draws = encoding.samples(DRAWN, rng)
            smallest = self._descend(draws, rng)
            drawn = [code for code in dict.fromkeys([smallest, *draws]) if self.known(code).usable]
            if len(drawn) < POOL // BINS:  # the limits leave a corner of the space: grow into it
                drawn = self._grow(drawn, rng)
            largest = self._ascend(drawn, rng)
            drawn = self._fill(self._usable([smallest, *largest, *drawn]), rng)
            self.codes = self._usable([smallest, *largest, *_spread(drawn, self.costs(drawn), rng)])
        self.array = encoding.array(self.codes)
        self.base_costs = self.costs(self.codes)
        self._identities = [self.known(code).identity for code in self.codes]

    def known(self, code: Code) -> Known:
        """What is known of any code of the space."""
        known = self._known.get(code)
        if known is None:
            setting = self.encoding.decode(code)
            usable = self._feasible is None or self._feasible(setting)
            costs = self._log_costs(setting)
            same = code if self._identity is None else self._identity(setting)
            number = self._numbers.setdefault(same, len(self._numbers))
            known = self._known[code] = Known(costs, usable and self._within(costs), number)
        return known

    def costs(self, codes: Sequence[Code]) -> Array:
        """[N, costs], log10."""
        return np.array([self.known(code).costs for code in codes], dtype=np.float64)

    def untried(self, identities: AbstractSet[int]) -> list[int]:
        """Rows of `codes` whose architecture is not among some identities."""
        return [i for i, identity in enumerate(self._identities) if identity not in identities]

    def around(self, front: Sequence[Code], rng: np.random.Generator) -> list[Code]:
        """Neighbours and crossings of the front, and random codes: for a large space."""
        wanted = [near for code in front for near in self.encoding.neighbours(code, rng)]
        if len(front) > 1:
            pairs = rng.integers(len(front), size=(CROSSINGS, 2))
            wanted += [self.encoding.cross(front[a], front[b], rng) for a, b in pairs.tolist()]
        return self._usable([*wanted, *self.encoding.samples(FRESH, rng)])

    def neighbours(self, codes: Iterable[Code], rng: np.random.Generator) -> list[Code]:
        """Usable codes one choice away."""
        return self._usable(n for code in codes for n in self.encoding.neighbours(code, rng))

    def _log_costs(self, setting: Setting) -> tuple[float, ...]:
        costs = self._costs(setting)
        try:
            logs = tuple(map(math.log10, costs))
        except (TypeError, ValueError):  # no numbers; not over 0
            logs = (math.nan,)
        if not logs or not all(map(math.isfinite, logs)):
            raise ValueError(f"costs of {setting}: {costs}; accepted: a tuple of numbers over 0")
        return logs

    def _within(self, costs: tuple[float, ...]) -> bool:
        if self._limits is None:
            return True
        if len(self._limits) != len(costs):
            raise ValueError(f"limits: {len(self._limits)}; accepted: {len(costs)}, as costs")
        return all(
            limit is None or cost <= math.log10(limit) + 1e-12
            for cost, limit in zip(costs, self._limits, strict=True)
        )

    def _usable(self, codes: Iterable[Code]) -> list[Code]:
        """Within the limits, the first code of each architecture."""
        found: dict[int, Code] = {}
        for code in codes:
            known = self.known(code)
            if known.usable:
                found.setdefault(known.identity, code)
        return list(found.values())

    def _descend(self, codes: Sequence[Code], rng: np.random.Generator) -> Code:
        """A code of the least first cost, by hill climbing; limits are not looked at."""

        def cost(code: Code) -> float:
            return self.known(code).costs[0]

        best = min(codes, key=cost)
        while cost(step := min(self.encoding.neighbours(best, rng), key=cost)) < cost(best):
            best = step
        return best

    def _ascend(self, codes: Sequence[Code], rng: np.random.Generator) -> list[Code]:
        """The code of the largest first cost within the limits, by hill climbing."""

        def cost(code: Code) -> float:
            return self.known(code).costs[0]

        best = max(codes, key=cost, default=None)
        while best is not None:
            step = max(self.neighbours([best], rng), key=cost, default=best)
            if cost(step) <= cost(best):
                return [best]
            best = step
        return []

    def _grow(self, codes: list[Code], rng: np.random.Generator) -> list[Code]:
        """Neighbours of neighbours within the limits, until they fill a pool."""
        grown, edge = list(codes), list(codes)
        while edge and len(grown) < POOL:
            before = len(grown)
            grown = self._usable([*grown, *self.neighbours(edge, rng)])
            edge = grown[before:]
        return grown

    def _fill(self, codes: list[Code], rng: np.random.Generator) -> list[Code]:
        """The codes and, for bins of the first log cost with few of them, mutations of these.

        A mutation is kept wherever it falls, if it is usable and new.
        """
        if not codes:
            return []
        costs = self.costs(codes)
        edges = _edges(costs)
        bins: list[list[Code]] = [[] for _ in range(BINS)]
        for code, index in zip(codes, np.digitize(costs[:, 0], edges), strict=True):
            bins[index].append(code)
        share = POOL // sum(1 for members in bins if members)
        found, seen = list(codes), {self.known(code).identity for code in codes}
        for _ in range(MUTATIONS):
            rare = [members for members in bins if 0 < len(members) < share]
            if not rare:
                break
            members = rare[rng.integers(len(rare))]
            code = self.encoding.mutate(members[rng.integers(len(members))], rng)
            known = self.known(code)
            if known.usable and known.identity not in seen:
                bins[bisect(edges, known.costs[0])].append(code)
                seen.add(known.identity)
                found.append(code)
        return found


def _spread(codes: Sequence[Code], costs: Array, rng: np.random.Generator) -> list[Code]:
    """A part of the codes that fills bins of the first log cost evenly."""
    if len(codes) <= POOL:
        return list(codes)
    order = rng.permutation(len(codes))
    bins = np.digitize(costs[order, 0], _edges(costs))
    # The first of every bin, then the second, ...: rare sizes are all in.
    turn = np.empty(len(order), dtype=np.int64)
    for index in range(BINS):
        members = np.flatnonzero(bins == index)
        turn[members] = np.arange(len(members))
    chosen = order[np.argsort(turn, kind="stable")[:POOL]]
    return [codes[index] for index in chosen]


def _edges(costs: Array) -> Array:
    """Between the bins of the first log cost."""
    return np.linspace(costs[:, 0].min(), costs[:, 0].max(), BINS + 1)[1:-1]
