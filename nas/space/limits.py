"""Hard limits on cost, and the cheapest and most expensive architecture of a space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas.space.arch import Arch, scale_stem
from nas.space.cost import Cost, cost
from nas.space.space import SearchSpace


@dataclass(frozen=True)
class Limits:
    """The most that an architecture may cost; None is no limit."""

    max_macs: int | None = None  # multiply-adds of one forward pass of one image
    max_params: int | None = None  # trainable parameters

    def admit(self, cost: Cost) -> bool:
        """Whether an architecture of this cost may be trained."""
        return (self.max_macs is None or cost.macs <= self.max_macs) and (
            self.max_params is None or cost.params <= self.max_params
        )

    def require_reachable(self, space: SearchSpace, smallest: tuple[Cost, Cost]) -> None:
        """Raise ValueError where not even the smallest architecture is within a limit.

        Args:
            space: the space that the message names.
            smallest: the architecture with the fewest multiply-adds and the one with
                the fewest parameters.
        """
        by_macs, by_params = smallest
        if self.max_macs is not None and self.max_macs < by_macs.macs:
            raise ValueError(
                f"--max-macs {self.max_macs}: no architecture of {space.name} is that small; "
                f"accepted: at least {by_macs.macs}"
            )
        if self.max_params is not None and self.max_params < by_params.params:
            raise ValueError(
                f"--max-params {self.max_params}: no architecture of {space.name} is that small; "
                f"accepted: at least {by_params.params}"
            )


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

    def score(arch: Arch) -> int:
        return sign * key(cost(arch, image_size, in_channels, num_classes))

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
        finalists.append(min(prefixes, key=score))
    return min(finalists, key=score)


def _best_by_width(prefixes: list[Arch], score: Callable[[Arch], int]) -> list[Arch]:
    best: dict[int, tuple[int, Arch]] = {}
    for arch in prefixes:
        width, value = arch.stages[-1].width, score(arch)
        if width not in best or value < best[width][0]:
            best[width] = (value, arch)
    return [arch for _, arch in best.values()]
