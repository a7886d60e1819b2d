"""A drawing of an architecture, stage by stage, as SVG."""

from __future__ import annotations

import math
from html import escape

from nas.data import DatasetInfo
from nas.format import format_count, format_number
from nas.space.arch import Arch, StageArch, strided_size
from nas.space.cost import LayerCost, layer_costs

COLOURS = {"dct": "#00876c", "pointwise": "#d98200"}
INK, PALE, LINE = "#1d2733", "#5b6b7a", "#c5cfd8"

MIDDLE, TALLEST, LOWEST = 74, 84, 14  # pixels: centre line, largest and smallest block
BAR_TOP, HEIGHT = 194, 214
ENDS = 74  # width of the stem and of the classifier
STAGE_MIN = 126  # width of a stage; a line of text under it must fit
BLOCK_MAX, BLOCK_MIN, GAP = 14, 3, 3


def draw(arch: Arch, dataset: DatasetInfo) -> str:
    """`<svg>` of an architecture: a bar per block, as high as its width goes (square root).

    Colour is the expansion. Under each stage stand its repeats and width, expansion and p,
    hidden units, and the side of its feature maps; the strip at the bottom shows how the
    multiply-adds divide.
    """
    widest = max(arch.stem, *(stage.width for stage in arch.stages))
    shares = _shares(arch, dataset)
    parts, x, size = [], 4.0, dataset.image_size
    parts.append(_bar(x + ENDS / 2 - 7, 14, arch.stem, widest, "#8fa3b5"))
    parts.append(
        _text(x + ENDS / 2, ["stem", format_number(arch.stem, "channel"), f"{size}×{size}"])
    )
    spans = [("#8fa3b5", shares[0])]
    x += ENDS
    for stage, share in zip(arch.stages, shares[1:-1], strict=True):
        size = strided_size(size, stage.stride)
        width = _stage_width(stage)
        parts.append(_stage(x, width, stage, widest, size))
        spans.append((COLOURS[stage.expansion], share))
        x += width
    parts.append(_bar(x + ENDS / 2 - 7, 14, dataset.num_classes, widest, "#8fa3b5"))
    classes = format_number(dataset.num_classes, "class", "classes")
    parts.append(_text(x + ENDS / 2, ["classifier", classes, ""]))
    spans.append(("#8fa3b5", shares[-1]))
    total = x + ENDS + 4
    parts.append(_strip(spans, total))
    counts = sum(layer.macs for layer in _layers(arch, dataset))
    title = f"{arch}; {format_count(counts)} FLOPs (multiply-adds)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total:.0f} {HEIGHT}" '
        f'width="{total:.0f}" height="{HEIGHT}" style="min-width:{0.8 * total:.0f}px" '
        f'role="img" aria-label="{escape(title)}" '
        f'font-family="system-ui, Liberation Sans, Arial, sans-serif" font-size="12">'
        f"<title>{escape(title)}</title>"
        f'<line x1="4" x2="{total - 4:.0f}" y1="{MIDDLE}" y2="{MIDDLE}" stroke="{LINE}"/>'
        + "".join(parts)
        + "</svg>"
    )


def _layers(arch: Arch, dataset: DatasetInfo) -> list[LayerCost]:
    return layer_costs(arch, dataset.image_size, dataset.in_channels, dataset.num_classes)


def _shares(arch: Arch, dataset: DatasetInfo) -> list[float]:
    """Shares of the multiply-adds: stem, each stage, classifier."""
    sums = [0] * (len(arch.stages) + 2)
    for layer in _layers(arch, dataset):
        kind, _, rest = layer.name.partition(".")
        position = {"stem": 0, "classifier": -1}.get(kind, 0)
        if kind == "stages":
            position = 1 + int(rest.partition(".")[0])
        sums[position] += layer.macs
    return [value / sum(sums) for value in sums]


def _stage_width(stage: StageArch) -> float:
    return max(STAGE_MIN, stage.repeats * (_block(stage) + GAP) + 18)


def _block(stage: StageArch) -> float:
    return max(BLOCK_MIN, min(BLOCK_MAX, 160 / stage.repeats - GAP))


def _stage(x: float, width: float, stage: StageArch, widest: int, size: int) -> str:
    block = _block(stage)
    left = x + (width - stage.repeats * (block + GAP) + GAP) / 2
    bars = [
        _bar(left + i * (block + GAP), block, stage.width, widest, COLOURS[stage.expansion])
        for i in range(stage.repeats)
    ]
    unit = f"DCT, p {stage.p}" if stage.expansion == "dct" else f"pointwise, p {stage.p}"
    lines = [
        f"{stage.repeats} × {stage.width} ch." + (f" /{stage.stride}" if stage.stride > 1 else ""),
        unit,
        f"{size}×{size}" + ("" if stage.hidden is None else f", {stage.hidden} hidden"),
    ]
    edge = (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="182" stroke="{LINE}" stroke-dasharray="2 3"/>'
    )
    return edge + "".join(bars) + _text(x + width / 2, lines)


def _bar(x: float, width: float, channels: int, widest: int, colour: str) -> str:
    height = max(LOWEST, TALLEST * math.sqrt(min(1.0, channels / widest)))
    return (
        f'<rect x="{x:.1f}" y="{MIDDLE - height / 2:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="2" fill="{colour}"/>'
    )


def _text(x: float, lines: list[str]) -> str:
    return "".join(
        f'<text x="{x:.1f}" y="{138 + 16 * i}" text-anchor="middle" '
        f'fill="{INK if i == 0 else PALE}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )


def _strip(spans: list[tuple[str, float]], total: float) -> str:
    """One bar over the whole width, divided as the multiply-adds are."""
    room, x, parts = total - 8, 4.0, []
    for colour, share in spans:
        width = share * room
        label = f"{100 * share:.0f} %"
        parts.append(
            f'<rect x="{x:.1f}" y="{BAR_TOP}" width="{max(0.0, width - 1):.1f}" height="16" '
            f'fill="{colour}" fill-opacity="0.25"/>'
        )
        if width > 34:
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{BAR_TOP + 12}" text-anchor="middle" '
                f'font-size="11" fill="{INK}">{label}</text>'
            )
        x += width
    return "".join(parts)
