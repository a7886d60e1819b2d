"""A data set that is not on this machine yet: what is known of it before it is read."""

from __future__ import annotations

from dataclasses import replace

import torch

from nas.data.info import DataNotes, DatasetInfo, SearchData
from nas.data.splits import DatasetError, Split


class NotHere(DatasetError):
    """A data set that cannot be read before something is downloaded or written.

    Args:
        message: what is missing, and what would be downloaded or written.
        data: what is known of it, with black images in the place of its own.
    """

    def __init__(self, message: str, data: SearchData) -> None:
        super().__init__(message)
        self.data = replace(data, notes=replace(data.notes, download=message))


def outline(
    name: str,
    images: tuple[int, int],
    shape: tuple[int, int, int],
    class_names: tuple[str, ...],
    notes: DataNotes,
) -> SearchData:
    """Splits of the right sizes without their images, for a plan; they take no memory."""
    channels = shape[0]
    pixel = torch.zeros((1, channels, 1, 1), dtype=torch.uint8)
    train, val = (
        Split(pixel.expand(number, *shape), torch.zeros(number, dtype=torch.int64))
        for number in images
    )
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    info = DatasetInfo(name, shape[1], channels, class_names, 0, False, zeros, ones, "")
    return SearchData(info, train, val, notes)
