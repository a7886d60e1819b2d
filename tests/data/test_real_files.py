"""Images that packages and systems ship, read as an independent decoder of PNG reads them."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nas.data import DatasetError, load_search_data, load_test_data
from nas.data.image_file import read_pixels, suffixes

ICONS = (Path("/usr/share/icons"), Path("/usr/share/pixmaps"))
MAX_PIXELS = 300_000  # of an image that is decoded here, in Python
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
PALETTE, GREY_ALPHA, RGB_ALPHA = 3, 4, 6

pytestmark = pytest.mark.slow


def png(path: Path) -> tuple[NDArray[np.float64], str] | None:
    """RGBA in [0, 255] by the PNG specification, and its kind; None for what is not decoded."""
    content = path.read_bytes()
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        chunks[name] = chunks.get(name, b"") + content[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if interlaced or width * height > MAX_PIXELS:
        return None
    channels = CHANNELS[colour]
    rows = unfilter(zlib.decompress(chunks[b"IDAT"]), width, height, bits, channels)
    if bits == 16:
        samples = rows.reshape(height, -1, 2).astype(np.int64) @ np.array([256, 1])
    elif bits == 8:
        samples = rows.astype(np.int64)
    else:
        whole = np.unpackbits(rows, axis=1).reshape(height, -1, bits)
        samples = whole.astype(np.int64) @ (1 << np.arange(bits)[::-1])
    samples = samples[:, : width * channels].reshape(height, width, channels)
    key = chunks.get(b"tRNS")
    kind = f"{bits} bits, colour type {colour}{', key' if key else ''}"
    if colour == PALETTE:
        palette = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)
        alphas = np.full(len(palette), 255)
        alphas[: len(key or b"")] = list(key or b"")
        chosen = samples[..., 0]
        return np.dstack([palette[chosen], alphas[chosen]]).astype(float), kind
    values = samples * (255 / (2**bits - 1))
    opaque = np.full((height, width), 255.0)
    if key and colour in (0, 2):
        opaque[(samples == np.frombuffer(key, ">u2")).all(2)] = 0
    if colour in (GREY_ALPHA, RGB_ALPHA):
        opaque, values = values[..., -1], values[..., :-1]
    return np.dstack([np.broadcast_to(values, (height, width, 3)), opaque]), kind


def unfilter(data: bytes, width: int, height: int, bits: int, channels: int) -> NDArray[np.uint8]:
    """Rows of bytes, after PNG's five filters are undone."""
    step = max(1, bits * channels // 8)
    length = (width * bits * channels + 7) // 8
    above, rows = bytearray(length), []
    for y in range(height):
        kind, row = data[y * (length + 1)], bytearray(data[y * (length + 1) + 1 :][:length])
        for x in range(length if kind else 0):
            left = row[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            if kind == 4:
                near = left + above[x] - corner
                far = abs(near - left), abs(near - above[x]), abs(near - corner)
                guess = (left, above[x], corner)[far.index(min(far))]
            else:
                guess = (0, left, above[x], (left + above[x]) // 2)[kind]
            row[x] = (row[x] + guess) % 256
        rows.append(row)
        above = row
    return np.array(rows, np.uint8)


def over(rgba: NDArray[np.float64], background: NDArray[np.float64]) -> NDArray[np.float64]:
    share = rgba[..., 3:] / 255
    return rgba[..., :3] * share + background * (1 - share)


def compare(paths: list[Path], background: str = "#20c0ff") -> Counter[str]:
    """Compare our reading with that of `png`; how many images of each kind were compared."""
    colour = np.array([int(background[k : k + 2], 16) for k in (1, 3, 5)], float)
    kinds: Counter[str] = Counter()
    for path in paths:
        decoded = png(path)
        if decoded is None:
            continue
        expected, kind = over(decoded[0], colour), decoded[1]
        height, width = expected.shape[:2]
        if height == width and 1 <= width <= 512:
            read = read_pixels(path, width, 3, background).pixels.transpose(1, 2, 0)
            assert abs(read - expected).max() <= 1.5, (path, kind)
        else:  # squeezed to a square: the means agree
            read = read_pixels(path, 64, 3, background).pixels.transpose(1, 2, 0)
            assert abs(read.mean((0, 1)) - expected.mean((0, 1))).max() < 2, (path, kind)
        kinds[kind] += 1
    return kinds


def test_icons_of_the_system() -> None:
    paths = sorted(path for folder in ICONS for path in folder.rglob("*.png") if path.is_file())
    if not paths:
        pytest.skip("no icons are installed (Debian: adwaita-icon-theme or hicolor-icon-theme)")
    kinds = compare(paths[:: max(1, len(paths) // 400)])
    assert kinds.total() >= min(len(paths), 100)


@pytest.mark.parametrize("package", ["skimage", "matplotlib"])
def test_samples_of_packages(package: str) -> None:
    found = find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package}, which ships images, is not installed")
    paths = sorted(Path(found.origin).parent.rglob("*.png"))
    assert paths
    kinds = compare(paths)
    assert kinds.total() >= 5
    for path in sorted(Path(found.origin).parent.rglob("*")):
        if path.suffix in (".jpg", ".tif", ".gif"):  # read, or refused in one line
            with nullcontext() if path.suffix != ".tif" else suppress(DatasetError):
                assert read_pixels(path, 64, 3).pixels.std() > 1


def test_icons_are_classes_that_differ(tmp_path: Path) -> None:
    """A folder of icons whose drawing is in the transparency alone, through the whole reading."""
    legacy = Path("/usr/share/icons/Adwaita/32x32")
    paths = sorted(legacy.rglob("*.png"))
    if len(paths) < 200:
        pytest.skip("no Adwaita icons of 32x32 pixels are installed")
    for number, path in enumerate(paths[:200]):
        folder = tmp_path / ("even" if number % 2 else "odd")
        folder.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(path)
    data = load_search_data(f"folder:{tmp_path}", tmp_path)
    assert data.info.background == "#ffffff"
    assert len(np.unique(data.train.images.numpy(), axis=0)) > 0.9 * len(data.train)
    test = load_test_data(f"folder:{tmp_path}", tmp_path, **data.info.reading())
    assert len(data.train) + len(data.val) + len(test) == len(list(tmp_path.glob("*/*.png")))


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    if find_spec("pillow_heif") is None:
        pytest.skip("pillow-heif is not installed")
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    picture = np.dstack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], 64), np.full((64, 64), 90)])
    assert ".heic" in suffixes()
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "one.heic", quality=95)
    read = read_pixels(tmp_path / "one.heic", 64, 3).pixels.transpose(1, 2, 0)
    assert abs(read.astype(float) - picture).mean() < 3
