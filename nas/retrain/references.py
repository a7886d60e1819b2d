"""Networks to compare the chosen ones with: the values of `--reference`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas.data import DatasetInfo
from nas.models.reference import REFERENCES, parse_reference, reference_macs
from nas.space.arch import MAX_WIDTH, Arch, StageArch, table2_arch
from nas.space.cost import cost

TWIN, EQUAL_COST_TWIN, TABLE2, SCALED = "twin", "equal-cost-twin", "table2", "-scaled"
ACCEPTED = ", ".join(
    [f"{name}, {name}-WIDTH, {name}{SCALED}" for name in REFERENCES]
    + [TWIN, EQUAL_COST_TWIN, TABLE2]
)
DCT_TWIN = "dct-twin"  # family of the twins of pointwise networks
SEARCHED = "searched"  # the family of the chosen networks themselves

EQUAL = 0.05  # share by which multiply-adds of an equal-cost twin may differ
SCALES = [1.01**step for step in range(-300, 101)]  # widths of a twin, 0.05 to 2.7
TABLE2_ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
TABLE2_PS = (2, 4, 8)
TABLE2_R = 4  # of DCT twins too
REFERENCE_WIDTHS = [round(0.05 * step, 2) for step in range(1, 31)]


@dataclass(frozen=True)
class NetworkSpec:
    """A network that is to be trained in full."""

    name: str  # of its folder
    family: str  # networks of one family share a learning rate
    network: Arch | str  # an architecture, or the name of a reference network
    of: str | None = None  # arch_id of the chosen network whose twin it is

    def macs(self, info: DatasetInfo) -> int:
        """Multiply-adds of one forward pass of one image."""
        if isinstance(self.network, Arch):
            return _macs(self.network, info)
        return reference_macs(self.network, info.image_size, info.in_channels, info.num_classes)


def network_specs(
    chosen: Sequence[Arch], references: Sequence[str], info: DatasetInfo
) -> tuple[list[NetworkSpec], list[str]]:
    """The chosen networks and those to compare them with, each network once.

    - `twin`: the same stages, every expansion pointwise; of a network that is pointwise
      throughout the same stages with DCT, r = 4;
    - `equal-cost-twin`: the same with the width at which multiply-adds agree within 5 %;
    - `table2`: the DyClotNet of Table 2 (alpha of 0.25 to 2, p of 2, 4, 8, r = 4) whose
      multiply-adds are nearest;
    - `NAME`, `NAME-WIDTH`, `NAME-scaled` for a name of `nas.models.reference.REFERENCES`
      (scaled: the width, a multiple of 0.05, whose multiply-adds are nearest to those of the
      most expensive chosen network).

    Returns:
        The networks, and a line for each reference that does not exist, with the reason.

    Raises:
        ValueError: a reference is unknown.
    """
    specs = [NetworkSpec(arch.arch_id, SEARCHED, arch) for arch in chosen]
    notes = []
    for reference in references:
        if reference.removesuffix(SCALED) in REFERENCES:
            family = reference.removesuffix(SCALED)
            if reference != family:
                most = max(_macs(arch, info) for arch in chosen)
                reference = nearest_reference(family, most, info)
            specs.append(NetworkSpec(reference, family, reference))
        elif reference in (TWIN, EQUAL_COST_TWIN, TABLE2):
            for arch in chosen:
                spec, note = _beside(reference, arch, info)
                specs += [spec] if spec else []
                notes += [note] if note else []
        else:
            try:
                family, _ = parse_reference(reference)
            except ValueError:
                raise ValueError(f"--reference {reference[:40]}: accepted: {ACCEPTED}") from None
            specs.append(NetworkSpec(reference, family, reference))
    distinct: dict[str, NetworkSpec] = {}
    for spec in specs:
        distinct.setdefault(_key(spec), spec)
    return list(distinct.values()), notes


def _key(spec: NetworkSpec) -> str:
    if isinstance(spec.network, Arch):
        return spec.network.arch_id
    family, width = parse_reference(spec.network)
    return f"{family}-{width:g}"


def _beside(reference: str, arch: Arch, info: DatasetInfo) -> tuple[NetworkSpec | None, str | None]:
    if reference == TABLE2:
        name, network = nearest_table2(_macs(arch, info), info)
        return NetworkSpec(name, TABLE2, network), None
    twin = other_twin(arch)
    if reference == EQUAL_COST_TWIN:
        equal = equal_cost_twin(arch, info)
        if equal is None:
            return None, f"{arch.arch_id} has no {reference}: no width is within {EQUAL:.0%}"
        twin = equal
    # Twins of the same and of equal cost are one family: networks of about the same stages.
    family = TWIN if _is_pointwise(twin) else DCT_TWIN
    return NetworkSpec(f"{reference}-{arch.arch_id}", family, twin, arch.arch_id), None


def other_twin(arch: Arch) -> Arch:
    """The pointwise twin; the DCT twin of a network that is pointwise throughout."""
    return dct_twin(arch) if _is_pointwise(arch) else pointwise_twin(arch)


def _is_pointwise(arch: Arch) -> bool:
    return all(stage.expansion == "pointwise" for stage in arch.stages)


def pointwise_twin(arch: Arch) -> Arch:
    """The same stages with a 1x1 convolution in the place of DCT."""
    stages = tuple(replace(stage, expansion="pointwise", hidden=None) for stage in arch.stages)
    return Arch(arch.stem, stages)


def dct_twin(arch: Arch) -> Arch:
    """The same stages with DCT of reduction ratio 4 in each."""
    stages = tuple(
        replace(stage, expansion="dct", hidden=_hidden(stage.width)) for stage in arch.stages
    )
    return Arch(arch.stem, stages)


def _hidden(width: int) -> int:
    return max(1, width // TABLE2_R)


def equal_cost_twin(arch: Arch, info: DatasetInfo) -> Arch | None:
    """The twin, see `other_twin`, of the width at which multiply-adds agree within 5 %.

    Every stage keeps repeats, stride and p; one factor scales all widths, each rounded up
    or down to a multiple of its 2p. Of the roundings within 5 % the one that keeps the
    proportions of the widths best; None where there is none.
    """
    twin, target = other_twin(arch), _macs(arch, info)
    widths = [twin.stem, *(stage.width for stage in twin.stages)]
    multiples = [1, *(2 * stage.p for stage in twin.stages)]
    best: tuple[float, Arch] | None = None
    for tried in _roundings(widths, multiples):
        stem, *rest = tried
        scaled = Arch(stem, tuple(map(_with_width, twin.stages, rest)))
        if abs(_macs(scaled, info) / target - 1) > EQUAL:
            continue
        ratios = [math.log(new / old) for new, old in zip(tried, widths, strict=True)]
        unevenness = max(ratios) - min(ratios)
        if best is None or unevenness < best[0]:
            best = (unevenness, scaled)
    return best[1] if best else None


def _with_width(stage: StageArch, width: int) -> StageArch:
    hidden = None if stage.hidden is None else _hidden(width)
    return replace(stage, width=width, hidden=hidden)


def _roundings(widths: list[int], multiples: list[int]) -> set[tuple[int, ...]]:
    """All widths that one factor gives, each rounded up or down to its multiple."""
    roundings = set()
    for scale in SCALES:
        choices = [
            {m * max(1, math.floor(w * scale / m)), m * math.ceil(w * scale / m)}
            for w, m in zip(widths, multiples, strict=True)
        ]
        roundings |= {one for one in itertools.product(*choices) if max(one) <= MAX_WIDTH}
    return roundings


def nearest_table2(macs: int, info: DatasetInfo) -> tuple[str, Arch]:
    """The name and architecture of Table 2 whose multiply-adds are nearest, in ratio."""
    table = {
        f"table2-{alpha:g}-p{p}": table2_arch(alpha, p, TABLE2_R)
        for alpha in TABLE2_ALPHAS
        for p in TABLE2_PS
    }
    return min(table.items(), key=lambda item: abs(math.log(_macs(item[1], info) / macs)))


def nearest_reference(family: str, macs: int, info: DatasetInfo) -> str:
    """The name of the network of `REFERENCES[family]` whose multiply-adds are nearest, in ratio."""
    sizes = (info.image_size, info.in_channels, info.num_classes)
    names = [f"{family}-{width:g}" for width in REFERENCE_WIDTHS]
    return min(names, key=lambda name: abs(math.log(reference_macs(name, *sizes) / macs)))


def _macs(arch: Arch, info: DatasetInfo) -> int:
    return cost(arch, info.image_size, info.in_channels, info.num_classes).macs
