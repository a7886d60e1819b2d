"""Which validation images a trial classified right: packed bits, as text that a study stores.

All trials of a study are evaluated on the same images, so the accuracies of two networks, and
those of one network after two epochs, are paired: images that are hard for one are mostly hard
for the other, and their difference has less noise than the difference of independent shares.
The bits show how much less (McNemar, "Note on the sampling error of the difference between
correlated proportions or percentages", Psychometrika 12, 1947).
"""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]

MAX_KEPT = 4096  # images of a split; more tell little more about a variance


def encode(right: Bits) -> str:
    """Bits as text of at most 700 characters.

    Args:
        right: [images], whether each image of the split is classified right. Of more than
            `MAX_KEPT` images, as many are kept, evenly spaced over the split.

    Returns:
        The number of bits that are kept, a colon, and the compressed bits in base64.
    """
    if len(right) > MAX_KEPT:
        right = right[np.linspace(0, len(right) - 1, MAX_KEPT).astype(np.int64)]
    packed = zlib.compress(np.packbits(right).tobytes(), 9)
    return f"{len(right)}:{base64.b64encode(packed).decode()}"


def decode(text: str) -> Bits:
    """The bits that `encode` was given, [kept].

    Raises:
        ValueError: the text is not from `encode`.
    """
    count, _, packed = text.partition(":")
    try:
        data = zlib.decompress(base64.b64decode(packed, validate=True))
        kept = int(count)
        if not 8 * (len(data) - 1) < kept <= 8 * len(data):
            raise ValueError
    except (binascii.Error, zlib.error, ValueError):
        raise ValueError(f"right images: {text[:40]!r} is not a number and its bits") from None
    return np.unpackbits(np.frombuffer(data, np.uint8), count=kept).astype(np.bool_)
