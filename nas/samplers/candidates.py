"""The candidates of a sampler: codes with their costs, one for each architecture.

A small space is enumerated. A large one has a pool that is spread evenly over the range of log
cost; the neighbours and crossovers of the front, a few random codes and hill climbing from there
add candidates outside of the pool. Few random architectures are nearly as cheap as the cheapest
one, so the pool contains mutations of those few.
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

ENUMERABLE = 20_000  # settings up to which a space is enumerated
DRAWS = 4_000  # random codes that the pool of a large space is chosen from
POOL = 3_000  # candidates of a large space
BINS = 30  # equal intervals of log cost that the pool fills evenly
MUTATIONS = 3_000  # tried at most, to fill bins that random codes seldom reach
CROSSOVERS = 80  # between members of the front, for each ask
RANDOM = 40  # random codes, for each ask
CLIMBERS = 4  # codes whose neighbours a round of hill climbing looks at


class CodeInfo(NamedTuple):
    """What is known of a code before training."""

    costs: tuple[float, ...]  # log10 of each known objective
    feasible: bool
    identity: int  # equal for two codes if and only if they build the same architecture


class Candidates:
    """The feasible candidates of a space, one code for each architecture.

    `enumerable` tells whether `codes` holds the whole space. `array`, [N, choices], and
    `base_costs`, [N, costs] in log10, describe the same codes.

    Args:
        encoding: of the space.
        costs: values of the known objectives for a setting, in the study's order.
        feasible: False for settings that must not be suggested.
        identity: equal for settings that build the same architecture.
        seed: draws the pool of a large space.
        codes: to describe instead of those of the whole space or of a pool.
        examples: codes that the pool of a large space grows from too, where they are feasible.

    Raises:
        ValueError: costs are not positive numbers.
    """

    def __init__(
        self,
        encoding: Encoding,
        costs: Costs,
        *,
        feasible: Callable[[Mapping[str, Any]], bool] | None,
        identity: Callable[[Mapping[str, Any]], Hashable] | None,
        seed: Sequence[int],
        codes: list[Code] | None = None,
        examples: Sequence[Code] = (),
    ) -> None:
        self.encoding = encoding
        self._costs, self._feasible, self._identity = costs, feasible, identity
        self._infos: dict[Code, CodeInfo] = {}
        self._numbers: dict[Hashable, int] = {}  # identity -> consecutive number
        self.enumerable = codes is None and encoding.size(ENUMERABLE + 1) <= ENUMERABLE
        rng = np.random.default_rng(seed)
        if codes is None:
            whole = self.enumerable
            codes = (
                self._first_feasible(encoding.all()) if whole else self._make_pool(rng, examples)
            )
        self.codes = codes
        self.array = encoding.array(self.codes)
        self.base_costs = self.costs(self.codes)
        self._identities = [self.info(code).identity for code in self.codes]

    def info(self, code: Code) -> CodeInfo:
        """What is known of any code of the space."""
        info = self._infos.get(code)
        if info is None:
            setting = self.encoding.decode(code)
            feasible = self._feasible is None or self._feasible(setting)
            costs = self._log_costs(setting)
            same = code if self._identity is None else self._identity(setting)
            number = self._numbers.setdefault(same, len(self._numbers))
            info = self._infos[code] = CodeInfo(costs, feasible, number)
        return info

    def costs(self, codes: Sequence[Code]) -> Array:
        """[N, costs], log10."""
        return np.array([self.info(code).costs for code in codes], dtype=np.float64)

    def untried(self, identities: AbstractSet[int]) -> list[int]:
        """Rows of `codes` whose architecture is not among the identities."""
        return [i for i, identity in enumerate(self._identities) if identity not in identities]

    def near_front(self, front: Sequence[Code], rng: np.random.Generator) -> list[Code]:
        """Neighbours and crossovers of the front, and random codes, for a large space."""
        codes = [near for code in front for near in self.encoding.neighbours(code, rng)]
        if len(front) > 1:
            pairs = rng.integers(len(front), size=(CROSSOVERS, 2))
            codes += [self.encoding.cross(front[a], front[b], rng) for a, b in pairs.tolist()]
        return self._first_feasible([*codes, *self.encoding.samples(RANDOM, rng)])

    def neighbours(self, codes: Iterable[Code], rng: np.random.Generator) -> list[Code]:
        """Feasible codes that differ in one choice."""
        return self._first_feasible(
            n for code in codes for n in self.encoding.neighbours(code, rng)
        )

    def _log_costs(self, setting: Setting) -> tuple[float, ...]:
        costs = self._costs(setting)
        try:
            logs = tuple(map(math.log10, costs))
        except (TypeError, ValueError):  # not numbers; not over 0
            logs = (math.nan,)
        if not logs or not all(map(math.isfinite, logs)):
            raise ValueError(f"costs of {setting}: {costs}; accepted: a tuple of numbers over 0")
        return logs

    def _first_feasible(self, codes: Iterable[Code]) -> list[Code]:
        """The feasible codes, the first of each architecture."""
        by_identity: dict[int, Code] = {}
        for code in codes:
            info = self.info(code)
            if info.feasible:
                by_identity.setdefault(info.identity, code)
        return list(by_identity.values())

    @staticmethod
    def _climb(
        code: Code, nearby: Callable[[Code], list[Code]], score: Callable[[Code], float]
    ) -> Code:
        """The code of the highest score that hill climbing from `code` reaches."""
        while score(best := max(nearby(code), key=score, default=code)) > score(code):
            code = best
        return code

    def _make_pool(self, rng: np.random.Generator, examples: Sequence[Code]) -> list[Code]:
        """The cheapest and the most expensive code, and codes spread over log cost; feasible."""

        def cost(code: Code) -> float:
            return self.info(code).costs[0]

        def all_neighbours(code: Code) -> list[Code]:  # also infeasible ones
            return self.encoding.neighbours(code, rng)

        draws = self.encoding.samples(DRAWS, rng)
        ends = [self._climb(min(draws, key=cost), all_neighbours, lambda code: -cost(code))]
        found = dict.fromkeys([*ends, *examples, *draws])
        drawn = [code for code in found if self.info(code).feasible]
        if len(drawn) < POOL // BINS:  # only a corner of the space is feasible: grow into it
            drawn = self._grow(drawn, rng)
        if drawn:
            costliest = max(drawn, key=cost)
            ends.append(self._climb(costliest, lambda c: self.neighbours([c], rng), cost))
        drawn = self._fill(self._first_feasible([*ends, *drawn]), rng)
        return self._first_feasible([*ends, *_spread(drawn, self.costs(drawn), rng)])

    def _grow(self, codes: list[Code], rng: np.random.Generator) -> list[Code]:
        """Feasible neighbours of neighbours, until they fill a pool."""
        grown, edge = list(codes), list(codes)
        while edge and len(grown) < POOL:
            before = len(grown)
            grown = self._first_feasible([*grown, *self.neighbours(edge, rng)])
            edge = grown[before:]
        return grown

    def _fill(self, codes: list[Code], rng: np.random.Generator) -> list[Code]:
        """The codes, and mutations of those in bins of the first log cost with few codes.

        A mutation is kept in whichever bin it falls, if it is feasible and new.
        """
        if not codes:
            return []
        costs = self.costs(codes)
        edges = _edges(costs)
        bins: list[list[Code]] = [[] for _ in range(BINS)]
        for code, index in zip(codes, np.digitize(costs[:, 0], edges), strict=True):
            bins[index].append(code)
        share = POOL // sum(1 for members in bins if members)
        filled, seen = list(codes), {self.info(code).identity for code in codes}
        for _ in range(MUTATIONS):
            rare = [members for members in bins if 0 < len(members) < share]
            if not rare:
                break
            members = rare[rng.integers(len(rare))]
            code = self.encoding.mutate(members[rng.integers(len(members))], rng)
            info = self.info(code)
            if info.feasible and info.identity not in seen:
                bins[bisect(edges, info.costs[0])].append(code)
                seen.add(info.identity)
                filled.append(code)
        return filled


def _spread(codes: Sequence[Code], costs: Array, rng: np.random.Generator) -> list[Code]:
    """`POOL` of the codes that fill bins of the first log cost evenly."""
    if len(codes) <= POOL:
        return list(codes)
    order = rng.permutation(len(codes))
    bins = np.digitize(costs[order, 0], _edges(costs))
    # The first code of every bin, then the second, ...: bins with few codes keep them all.
    turn = np.empty(len(order), dtype=np.int64)
    for index in range(BINS):
        members = np.flatnonzero(bins == index)
        turn[members] = np.arange(len(members))
    chosen = order[np.argsort(turn, kind="stable")[:POOL]]
    return [codes[index] for index in chosen]


def _edges(costs: Array) -> Array:
    """Inner edges of the bins of the first log cost."""
    return np.linspace(costs[:, 0].min(), costs[:, 0].max(), BINS + 1)[1:-1]
