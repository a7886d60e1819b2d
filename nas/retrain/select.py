"""Select architectures of a front: the values of `--select`."""

from __future__ import annotations

import math
import re

from nas.format import parse_quantity
from nas.study.front_file import FrontEntry, FrontFile
from nas.study.knee import MIN_MEMBERS

ACCEPTED = (
    "knee, all, top:K, spread:K, under:MACS (such as under:20M), best-per-octave, an arch_id, or "
    "several of these, separated by commas"
)


def select(front: FrontFile, wanted: str | None) -> list[FrontEntry]:
    """The entries that `wanted` names, cheapest first; of several by commas those of each.

    None is the knee, or of a front without one the most accurate member.

    `knee` is the member at the end of the last steep step (`nas.study.knee`), `top:K` are the K
    most accurate ones, `spread:K` are K spread evenly over the logarithm of cost, `under:20M` is
    the most accurate one of at most 20 million multiply-adds, `best-per-octave` the most accurate
    one in each doubling of multiply-adds. Accuracies are the estimates, and in a file without
    them the measurements.

    Raises:
        ValueError: nothing is selected, or `wanted` is none of these.
    """
    entries = sorted(front.architectures, key=lambda entry: entry.macs)
    if not entries:
        raise ValueError("the front file holds no architecture; accepted: one with at least one")
    if wanted is None:
        wanted = "knee" if any(entry.knee for entry in entries) else "top:1"
    chosen: list[FrontEntry] = []
    for part in (part.strip() for part in wanted.split(",")):
        matching = _matching(entries, part)
        chosen += [entry for entry in matching if entry not in chosen]
        if matching:
            continue
        if part == "knee":
            raise ValueError(
                f"--select knee: this front has no knee ({len(entries)} of at least {MIN_MEMBERS} "
                "networks); accepted here: top:1 for the most accurate one, all, top:K, spread:K, "
                "under:MACS (such as under:20M), best-per-octave or an arch_id"
            )
        ids = ", ".join(entry.arch_id for entry in entries[:5])
        raise ValueError(
            f"--select: {part[:40]!r} selects nothing; accepted: {ACCEPTED}; "
            f"arch_ids start with {ids}"
        )
    return sorted(chosen, key=lambda entry: entry.macs)


def _matching(entries: list[FrontEntry], wanted: str) -> list[FrontEntry]:
    if wanted == "all":
        return entries
    if wanted == "knee":
        return [entry for entry in entries if entry.knee]
    if wanted == "best-per-octave":
        octaves = {math.floor(math.log2(entry.macs)): entry for entry in _by_accuracy(entries)}
        return list(octaves.values())
    if match := re.fullmatch(r"top:(\d{1,6})", wanted):
        return _by_accuracy(entries)[-int(match[1]) :] if int(match[1]) else []
    if match := re.fullmatch(r"spread:(\d{1,6})", wanted):
        return spread_over_cost(entries, int(match[1])) if int(match[1]) else []
    if wanted.startswith("under:"):
        limit = parse_quantity("--select under:", wanted.removeprefix("under:")) or 0
        return _by_accuracy([entry for entry in entries if entry.macs <= limit])[-1:]
    return [entry for entry in entries if entry.arch_id == wanted]


def spread_over_cost(entries: list[FrontEntry], most: int) -> list[FrontEntry]:
    """At most `most` entries, evenly over the logarithm of cost.

    First the knee (or the most expensive one, where none is marked), then both ends, then
    repeatedly the one farthest from those taken.
    """
    if len(entries) <= most:
        return entries
    place = [math.log(entry.macs) for entry in entries]
    knees = [index for index, entry in enumerate(entries) if entry.knee]
    kept = (knees or [len(entries) - 1])[:1]
    for end in (len(entries) - 1, 0):
        if len(kept) < most and end not in kept:
            kept.append(end)
    while len(kept) < most:
        rest = [index for index in range(len(entries)) if index not in kept]
        kept.append(max(rest, key=lambda i: min(abs(place[i] - place[k]) for k in kept)))
    return [entries[index] for index in sorted(kept)]


def _by_accuracy(entries: list[FrontEntry]) -> list[FrontEntry]:
    """Least accurate first; of equals the cheaper one last."""
    return sorted(entries, key=lambda entry: (entry.expected, -entry.macs))
