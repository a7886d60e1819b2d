"""Hard limits on cost, and the cheapest and most expensive architecture of a space."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from operator import attrgetter

from nas.space.arch import Arch, scale_stem
from nas.space.cost import Cost, cost
from nas.space.space import SearchSpace, Setting

LIMITED = ("macs", "params", "memory", "flash")  # what can be limited: attributes of `Cost`

Vector = tuple[int, ...]


@dataclass(frozen=True)
class Limits:
    """The most that an architecture may cost; None is no limit."""

    max_macs: int | None = None  # multiply-adds of one forward pass of one image
    max_params: int | None = None  # trainable parameters
    max_memory: int | None = None  # peak activation memory in int8, bytes
    max_flash: int | None = None  # weights and biases in int8, bytes
    device: str | None = None  # whose memory and flash are among the limits, by name
    max_latency: float | None = None  # seconds of one image, measured: not among `given`

    def admit(self, cost: Cost) -> bool:
        """Whether an architecture of this cost may be trained."""
        return (
            (self.max_macs is None or cost.macs <= self.max_macs)
            and (self.max_params is None or cost.params <= self.max_params)
            and (self.max_memory is None or cost.memory <= self.max_memory)
            and (self.max_flash is None or cost.flash <= self.max_flash)
        )

    @property
    def given(self) -> dict[str, int]:
        """The limits that are not None, by the name of what they limit."""
        limits = {name: getattr(self, f"max_{name}") for name in LIMITED}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def require_reachable(
        self, space: SearchSpace, image_size: int, in_channels: int, num_classes: int
    ) -> None:
        """Raise ValueError where no architecture of the space is within all limits.

        Args:
            space: where to look; the message names it.
            image_size: side of the square images, pixels.
            in_channels: channels of an image.
            num_classes: outputs of the classifier.
        """
        sizes = (image_size, in_channels, num_classes)
        of_device = "" if self.device is None else f" (--device {self.device})"
        for name, limit in self.given.items():
            least = attrgetter(name)(cost(extreme(space, *sizes, attrgetter(name)), *sizes))
            if limit < least:
                device = of_device if name in ("memory", "flash") else ""
                raise ValueError(
                    f"--max-{name} {limit}{device}: no architecture of {space.name} is that "
                    f"small; accepted: at least {least}"
                )
        if len(self.given) > 1 and not self._met_together(space, sizes):
            limits = " ".join(f"--max-{name} {limit}" for name, limit in self.given.items())
            raise ValueError(
                f"{limits}{of_device}: no architecture of {space.name} is within all of them; "
                "accepted: limits that one architecture is within"
            )

    def _met_together(self, space: SearchSpace, sizes: tuple[int, int, int]) -> bool:
        """Whether one architecture is within all limits; exact, as `extreme` is."""
        return bool(self.admitted(space, sizes))

    def admitted(self, space: SearchSpace, sizes: tuple[int, int, int]) -> list[Arch]:
        """Architectures within the limits that no other one's costs dominate.

        Only costs that are limited count. The list is empty where nothing is within the limits,
        and where there are none.
        """
        if not self.given:
            return []

        def score(arch: Arch) -> Vector:
            counted = cost(arch, *sizes)
            return tuple(getattr(counted, name) for name in self.given)

        return [
            arch for arch in _best_architectures(space, score) if self.admit(cost(arch, *sizes))
        ]

    def all_admitted(self, space: SearchSpace, sizes: tuple[int, int, int]) -> Iterator[Arch]:
        """Architectures within tight limits, each once: `admitted`, and what lies around them.

        An architecture is reached where single choices lead to it, each within the limits.
        """
        edge = deque(self.admitted(space, sizes))
        reached = set(edge)
        while edge:
            arch = edge.popleft()
            yield arch
            for near in map(space.decode, _one_choice_away(space, space.encode(arch))):
                if near not in reached and self.admit(cost(near, *sizes)):
                    reached.add(near)
                    edge.append(near)


def _one_choice_away(space: SearchSpace, setting: Setting) -> Iterator[Setting]:
    """Settings with another value of one choice, and any of those that only it gives effect."""
    for choice in space.choices:
        for value in choice.values:
            needing = [c for c in space.choices if c.needs == (choice.name, value)]
            for values in product(*(c.values for c in needing)):
                own = {c.name: v for c, v in zip(needing, values, strict=True)}
                yield setting | {choice.name: value} | own


def extreme(
    space: SearchSpace,
    image_size: int,
    in_channels: int,
    num_classes: int,
    key: Callable[[Cost], int],
    largest: bool = False,
) -> Arch:
    """The architecture of a space whose cost is the smallest, or the largest.

    The result is exact, and the space is not enumerated: the cost of a stage depends on the
    stages before it only through their output width, so the best prefix of each width is
    enough.

    Args:
        space: where to look.
        image_size: side of the square images, pixels.
        in_channels: channels of an image.
        num_classes: outputs of the classifier.
        key: what is compared, such as the multiply-adds of a cost.
        largest: whether the largest key is wanted, not the smallest.
    """
    sign = -1 if largest else 1
    return least(space, lambda arch: sign * key(cost(arch, image_size, in_channels, num_classes)))


def least(space: SearchSpace, score: Callable[[Arch], int]) -> Arch:
    """The architecture of the lowest score, exactly and without enumeration, as in `extreme`.

    Args:
        space: where to look.
        score: the sum over the parts of a network, or their maximum.
    """

    def vector(arch: Arch) -> Vector:
        return (score(arch),)

    return min(_best_architectures(space, vector), key=vector)


def _best_architectures(space: SearchSpace, score: Callable[[Arch], Vector]) -> list[Arch]:
    """Architectures among which are all scores that no other architecture's dominates.

    Args:
        space: where to look.
        score: costs to minimise; each is the sum or the maximum over the parts of a network.
    """
    finalists = []
    for alpha in space.schema.width_multiplier:
        stem = scale_stem(space.schema.stem, alpha)
        prefixes: list[Arch] = [Arch(stem, (stage,)) for stage in space.stage_options(alpha, 0)]
        for index in range(1, len(space.schema.stages)):
            prefixes = [
                Arch(stem, (*prefix.stages, stage))
                for prefix in _best_by_width(prefixes, score)
                for stage in space.stage_options(alpha, index)
            ]
        finalists += _best_by_width(prefixes, score)
    return finalists


def _best_by_width(prefixes: list[Arch], score: Callable[[Arch], Vector]) -> list[Arch]:
    """For each output width, the architectures whose scores no other's dominates."""
    fronts: dict[int, dict[Vector, Arch]] = {}
    for value, arch in sorted(((score(arch), arch) for arch in prefixes), key=lambda one: one[0]):
        front = fronts.setdefault(arch.stages[-1].width, {})
        # In this order no later score dominates an earlier one.
        if not any(all(map(int.__le__, other, value)) for other in front):
            front[value] = arch
    return [arch for front in fronts.values() for arch in front.values()]
