"""Single image files: depth, transparency, modes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nas.data import DatasetError, DatasetInfo, load_search_data
from nas.data.image_file import parse_background, read_pixels

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def read(path: Path, channels: int = 1, background: str | None = None) -> NDArray[Any]:
    pixels = read_pixels(path, 16, channels, background).pixels
    return pixels[0] if channels == 1 else pixels


def test_a_glyph_in_the_transparency_alone(tmp_path: Path) -> None:
    path = tmp_path / "glyph.png"
    image = np.zeros((16, 16, 4), np.uint8)
    image[..., 3] = RAMP
    Image.fromarray(image).save(path)
    assert np.array_equal(read(path), 255 - RAMP)  # black ink on white
    assert (read(path, background="#000000") == 0).all()
    red, green, blue = read(path, 3, "#ff0000")
    assert np.array_equal(red, 255 - RAMP)
    assert not green.any()
    assert not blue.any()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
def test_16_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep{suffix}"
    deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(deep).save(path)
    assert abs(read(path).astype(float) - deep / 257).max() <= (1 if suffix == ".jp2" else 0.5)


def test_what_a_tiff_says_of_its_range_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "twelve.tif"
    Image.fromarray(RAMP.astype(np.uint16) * 16).save(path, tiffinfo={281: 255 * 16})
    assert np.array_equal(read(path), RAMP)


def test_a_tiff_whose_zero_is_white(tmp_path: Path) -> None:
    path = tmp_path / "negative.tif"
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path)
    content = bytearray(path.read_bytes())
    entry = content.index((262).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    assert content[entry + 8] == 1  # BlackIsZero
    content[entry + 8] = 0
    path.write_bytes(content)
    assert np.array_equal(read(path), 255 - RAMP)


def test_a_pgm_of_ten_bits(tmp_path: Path) -> None:
    path = tmp_path / "ten.pgm"
    values = (RAMP.astype(np.uint16) * 4).astype(">u2")
    path.write_bytes(b"P5 16 16 1020\n" + values.tobytes())
    assert np.array_equal(read(path), RAMP)


def test_one_transparent_shade_of_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "key.png"
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path, transparency=7 * 257)
    expected = np.where(RAMP == 7, 255, RAMP)
    assert np.array_equal(read(path), expected)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("float.tif", RAMP.astype(np.float32), "TIFF in mode F"),
        ("signed.tif", RAMP.astype(np.int32), "TIFF in mode I"),
    ],
)
def test_a_range_that_is_not_known_is_refused_by_name_and_mode(
    tmp_path: Path, name: str, values: NDArray[Any], words: str
) -> None:
    path = tmp_path / name
    Image.fromarray(values).save(path)
    with pytest.raises(DatasetError, match=f"{name}: {words}.*accepted: 8 or 16 bits"):
        read(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr",
                                  "HSV", "La", "RGBa", "I;16", "I;16B"])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_of_pillow_with_8_or_16_bits(mode: str, channels: int) -> None:
    assert read_pixels(Image.new(mode, (5, 7)), 4, channels).pixels.shape == (channels, 4, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            r"\(a Git LFS pointer; git lfs",
        ),
        (b"\n<!DOCTYPE HTML><p>404", r"\(a web page\)$"),
        (b"<html>", r"\(a web page\)$"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"\(a drawing in SVG\)$"),
        (b"<?xml version='1.0'?><svg/>", r"\(XML, such as a drawing in SVG\)$"),
        (b"", r"\(an empty file\)$"),
        (b"\0\1\2", "one.png: not an image that can be read$"),
    ],
)
def test_what_is_there_instead_of_an_image_is_named(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=words) as caught:
        read_pixels(path, 8, 3)
    assert "one.png: not an image that can be read" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("white", "#ffffff"), ("Black", "#000000"), ("#20c040", "#20c040"), ("#f00", "#ff0000")],
)
def test_backgrounds(text: str, expected: str) -> None:
    assert parse_background(text) == expected


@pytest.mark.parametrize("text", ["", "colour", "#12", "rgb(1,2)", "\0"])
def test_no_background(text: str) -> None:
    with pytest.raises(DatasetError, match=r"--background: .*accepted: a colour such as white"):
        parse_background(text)


def test_what_a_study_recorded_before_there_was_a_background(tmp_path: Path) -> None:
    info = load_search_data("digits", tmp_path).info
    recorded = info.to_dict()
    assert "background" not in recorded
    assert DatasetInfo.from_dict(recorded) == info
    on_red = DatasetInfo.from_dict(recorded | {"background": "#ff0000"})
    assert DatasetInfo.from_dict(on_red.to_dict()) == on_red
    with pytest.raises(ValueError, match="contradicts"):
        DatasetInfo.from_dict(recorded | {"background": "red"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save", "tolerance"),
    [
        (lambda image, path: image.save(path.with_suffix(".png")), 1.0),
        (lambda image, path: image.save(path.with_suffix(".tiff"), compression="tiff_lzw"), 1.0),
        (lambda image, path: image.save(path.with_suffix(".jfif"), "JPEG", quality=95), 2.0),
        (lambda image, path: image.save(path.with_suffix(".avif"), quality=95), 3.0),
        (lambda image, path: image.save(path.with_suffix(".webp"), quality=95), 3.0),
        (lambda image, path: image.convert("CMYK").save(path.with_suffix(".jpg")), 3.0),
    ],
)
def test_a_photograph(
    tmp_path: Path, save: Callable[[Image.Image, Path], None], tolerance: float
) -> None:
    """scikit-learn's flower in formats that people have: means over blocks of pixels agree."""
    from sklearn.datasets import load_sample_image

    picture = load_sample_image("flower.jpg")[:384, :640]
    save(Image.fromarray(picture), tmp_path / "flower")
    (path,) = tmp_path.iterdir()
    read = read_pixels(path, 64, 3).pixels.transpose(1, 2, 0)
    blocks = picture.reshape(64, 6, 64, 10, 3).mean((1, 3))
    assert abs(read.mean((0, 1)) - blocks.mean((0, 1))).max() < tolerance
    assert np.corrcoef(read.ravel(), blocks.ravel())[0, 1] > 0.98
