"""One image file as pixels: its depth, transparency, orientation and frames."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from nas.data.splits import DatasetError
from nas.format import format_number

WHITE = "#ffffff"
MAX_FILE_PIXELS = 50_000_000  # a file that unpacks to more is refused unread
# EPS runs another program; the others are recognised but not decoded, or are not pictures.
NOT_READ = frozenset(
    ("BUFR", "EPS", "FITS", "GRIB", "HDF5", "IMT", "IPTC", "MCIDAS", "MPEG", "SPIDER", "WMF")
)
COMMON = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # tried first
BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE = 258, 262, 281  # tags of TIFF 6.0
WHITE_IS_ZERO = 0
NO_MAGIC = frozenset(("TGA",))  # any file might be one: known by its suffix alone
HEIF = frozenset((".heic", ".heics", ".heif", ".heifs", ".hif"))  # as telephones write photographs
IN_THE_PLACE = {
    b"version https://git-lfs": "a Git LFS pointer; git lfs pull fetches the image",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<svg": "a drawing in SVG",
    b"<?xml": "XML, such as a drawing in SVG",
}
"""What a file that is no image begins with."""


@dataclass(frozen=True)
class Pixels:
    """An image as a network is given it, and what its file held."""

    pixels: NDArray[np.uint8]  # [C, size, size]
    width: int  # pixels, of the file, upright
    height: int
    transparent: bool  # some of it showed the background
    frames: bool  # several: the first one counts


def read_pixels(
    source: Path | Image.Image, size: int, channels: int, background: str | None = None
) -> Pixels:
    """Read an image upright, on a background, in 8 bits, squeezed to a square.

    Args:
        source: a file in a format that Pillow decodes, or an image, which stays open.
        size: side of the square, pixels.
        channels: 1 for grey, 3 for RGB.
        background: colour behind transparent pixels, as #rrggbb; None: white.

    Raises:
        DatasetError: one line with the file and why it is not an image that can be read.
    """
    path = source if isinstance(source, Path) else "image"
    try:
        with _open(source) if isinstance(source, Path) else nullcontext(source) as image:
            return _to_pixels(image, size, channels, background or WHITE)
    except UnidentifiedImageError:
        raise DatasetError(f"{path}: not an image that can be read{_what_it_is(path)}") from None
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise anything on a damaged file
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DatasetError(
            f"{path}: not an image that can be read ({reason or type(error).__name__})"
        ) from None


def _to_pixels(image: Image.Image, size: int, channels: int, background: str) -> Pixels:
    if not 0 < image.width * image.height <= MAX_FILE_PIXELS:
        raise DatasetError(
            f"{image.width}x{image.height} pixels; accepted: 1 to {MAX_FILE_PIXELS} in all"
        )
    # A photograph of several pictures (MPO) is not animated, and a GIF's frames are not counted.
    frames = image.format != "MPO" and _has_frames(image)
    upright = ImageOps.exif_transpose(image)
    flat, transparent = _flatten(_to_8_bits(upright, image), background)
    flat = flat.convert("L" if channels == 1 else "RGB")
    small = flat.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = np.atleast_3d(np.asarray(small, dtype=np.uint8)).transpose(2, 0, 1)
    return Pixels(pixels, upright.width, upright.height, transparent, frames)


def parse_background(text: str) -> str:
    """A colour as #rrggbb.

    Raises:
        DatasetError: it is none.
    """
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise DatasetError(
            f"--background: {text[:40]!r}; accepted: a colour such as white, black or #rrggbb"
        ) from None
    return f"#{red:02x}{green:02x}{blue:02x}"


@cache
def suffixes() -> dict[str, str]:
    """The suffixes of the formats that are read, in lower case, with the format's name."""
    accepted = {*_formats(), *NO_MAGIC, "MPO"}  # a JPEG file of several pictures
    registered = Image.registered_extensions().items()  # after `_formats`, which adds some
    return {suffix: name for suffix, name in registered if name in accepted}


def heif_note(left_out: Mapping[str, int]) -> str:
    """What reads HEIC photographs, where some were left out; else empty.

    Args:
        left_out: numbers of files by suffix.
    """
    files = sum(number for suffix, number in left_out.items() if suffix in HEIF)
    if not files:
        return ""
    return f"{format_number(files, 'HEIC file')} left out; to read them: pip install pillow-heif"


def is_image(path: Path) -> bool:
    """Whether a file without a known suffix holds an image; its header alone is read."""
    try:
        with Image.open(path, formats=_formats()):
            return True
    except Exception:  # decoders raise anything on what is no image
        return False


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    with suppress(ImportError):  # an extension of Pillow, where it is installed
        importlib.import_module("pillow_heif").register_heif_opener()
    others = sorted(set(Image.OPEN) - set(COMMON) - NOT_READ - NO_MAGIC)
    return (*COMMON, *others)


def _open(path: Path) -> Image.Image:
    formats = (*_formats(), *(NO_MAGIC & {suffixes().get(path.suffix.lower(), "")}))
    return Image.open(path, formats=formats)


def _what_it_is(path: Path | str) -> str:
    """What people find in the place of an image, where it is one of the usual things."""
    if not isinstance(path, Path):
        return ""
    if path.suffix.lower() in HEIF - suffixes().keys():
        return " (HEIC; pip install pillow-heif reads it)"
    try:
        with path.open("rb") as file:
            start = file.read(100).lstrip().lower()
    except OSError:
        return ""
    kinds = {what: begins for begins, what in IN_THE_PLACE.items() if start.startswith(begins)}
    return f" ({min(kinds)})" if kinds else "" if start else " (an empty file)"


def _has_frames(image: Image.Image) -> bool:
    if image.format == "TIFF":  # knows only the number of its pages
        return bool(getattr(image, "n_frames", 1) > 1)
    return bool(getattr(image, "is_animated", False))


def _to_8_bits(image: Image.Image, source: Image.Image) -> Image.Image:
    """The image, or where it is grey of more bits: scaled by the range that its file states."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    tags: dict[int, Any] = getattr(source, "tag_v2", {})  # of a TIFF file
    if image.mode.startswith("I;"):
        bits = _number(tags.get(BITS_PER_SAMPLE)) or 16
        largest = _number(tags.get(MAX_SAMPLE_VALUE)) or 2**bits - 1
    elif image.mode == "I" and source.format in ("PNG", "PPM"):
        largest = 65535  # Pillow scales to it
    else:
        raise DatasetError(
            f"{source.format or 'an image'} in mode {image.mode}, whose values have no known "
            "range; accepted: 8 or 16 bits in a channel"
        )
    values = np.asarray(image).astype(np.float64)
    grey = np.rint(values * (255 / largest)).clip(0, 255).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    scaled = Image.fromarray(grey)
    key = source.info.get("transparency")
    if isinstance(key, int):  # the value that is transparent
        scaled.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return scaled


def _number(value: Any) -> int:
    """A tag's value, the first one where there are several; 0 where there is none."""
    first = value[0] if isinstance(value, tuple) and value else value
    return int(first) if isinstance(first, int | float) else 0


def _flatten(image: Image.Image, background: str) -> tuple[Image.Image, bool]:
    """The image over a background, and whether any of that shows."""
    if not image.has_transparency_data:
        return image, False
    if image.mode == "La":
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema()[0] == 255:
        return rgba, False
    below = Image.new("RGBA", rgba.size, background)
    return Image.alpha_composite(below, rgba), True
