"""What a network needs on a device: whether it fits, by how much, and which layer is the peak."""

from __future__ import annotations

from html import escape

from nas.data import DatasetInfo
from nas.format import format_bytes, three_digits
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.devices import Device
from nas.space.memory import LayerPeak, layer_peaks

BLUE, RED, PALE, LINE = "#0b5cad", "#b3261e", "#5b6b7a", "#c5cfd8"
BAR, GAP, TALL, BOTTOM = 14, 4, 60, 16  # pixels: width of a bar, space, height, room for text
COLUMNS = 30  # characters of the longest bar in a terminal


def describe_fit(arch: Arch, dataset: DatasetInfo, device: Device) -> str:
    """Whether a network fits a device, and the share of its memory and flash, in a sentence."""
    counted = cost(arch, dataset.image_size, dataset.in_channels, dataset.num_classes)
    uses = [_use("memory", counted.memory, device.ram), _use("flash", counted.flash, device.flash)]
    verb = "fits" if device.fits(counted) else "does not fit"
    return f"{verb} {device.title}: {'; '.join(uses)}"


def memory_lines(arch: Arch, dataset: DatasetInfo) -> list[str]:
    """A line with a bar for each layer, its int8 memory, and the operator of the peak."""
    peaks = _peaks(arch, dataset)
    most, width = max(one.memory for one in peaks), max(len(one.name) for one in peaks)
    return [
        f"{one.name:<{width}}  {'█' * max(1, round(COLUMNS * one.memory / most)):<{COLUMNS}}  "
        f"{format_bytes(one.memory):>9}" + (f"  peak: {one.operator}" * (one.memory == most))
        for one in peaks
    ]


def draw_memory(arch: Arch, dataset: DatasetInfo, device: Device | None = None) -> str:
    """`<svg>` with a bar for each layer's int8 memory; the peak, and a device's limit, in red."""
    peaks = _peaks(arch, dataset)
    most = max(one.memory for one in peaks)
    limit = device.ram if device is not None and device.ram <= 2 * most else None
    top = max(most, limit or 0)
    width = len(peaks) * (BAR + GAP) + GAP
    parts = []
    for index, one in enumerate(peaks):
        height = max(1.0, TALL * one.memory / top)
        title = f"{one.name}: {format_bytes(one.memory)} ({one.operator})"
        parts.append(
            f'<rect x="{GAP + index * (BAR + GAP)}" y="{TALL - height + 4:.1f}" width="{BAR}" '
            f'height="{height:.1f}" fill="{RED if one.memory == most else BLUE}">'
            f"<title>{escape(title)}</title></rect>"
        )
    if limit is not None:
        y = TALL - TALL * limit / top + 4
        parts.append(
            f'<line x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="{RED}" '
            'stroke-dasharray="4 3"/>'
        )
    peak = next(one for one in peaks if one.memory == most)
    label = f"int8 memory of each layer; peak {format_bytes(most)} in {peak.name}, {peak.operator}"
    high, wide = TALL + BOTTOM + 8, max(width, 420)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}" role="img" aria-label="{escape(label)}" font-size="11" '
        'font-family="system-ui, Liberation Sans, Arial, sans-serif">'
        f'<line x1="0" x2="{width}" y1="{TALL + 4}" y2="{TALL + 4}" stroke="{LINE}"/>'
        + "".join(parts)
        + f'<text x="{GAP}" y="{high - 4}" fill="{PALE}">{escape(label)}</text></svg>'
    )


def _peaks(arch: Arch, dataset: DatasetInfo) -> list[LayerPeak]:
    return layer_peaks(arch, dataset.image_size, dataset.in_channels, dataset.num_classes)


def _use(name: str, value: int, limit: int | None) -> str:
    if limit is None:
        return f"int8 {name} {format_bytes(value)}"
    over = f", {format_bytes(value - limit)} too much" if value > limit else ""
    share = f"{three_digits(100 * value / limit)} %"
    return f"int8 {name} {format_bytes(value)} of {format_bytes(limit)} ({share}{over})"
