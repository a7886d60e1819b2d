"""Image folders drawn at random: never a traceback, and what loads is what was drawn.

The expected pixels come from the arrays that the files were written from, by NumPy alone.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nas.data import DatasetError, load_search_data, load_test_data
from nas.data.folder_layout import split_of

SIZE = 8
SECONDS = 2.0  # of CPU time, for one folder
NAMES = ["a", "b", "Cat", "cat", "a b,c", "größe", "猫", "x" * 200, "1", "[red]", "-", "a\tb", "é"]
SPLIT_LIKE = ["train", "Test", "VAL", "dev", "training_set", "holdout"]
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}  # by the orientation in the Exif data, as its standard says


@dataclass
class Drawn:
    """A folder, and what is known of it."""

    classes: set[str] = field(default_factory=set)
    images: dict[str, list[NDArray[np.float64]]] = field(default_factory=lambda: defaultdict(list))
    bad: int = 0  # files that must be refused
    unsure: bool = False  # about what it should give


def over(rgb: NDArray[Any], alpha: NDArray[Any], background: NDArray[Any]) -> NDArray[Any]:
    share = alpha[..., None] / 255
    return rgb * share + background * (1 - share)


def draw_image(
    rng: np.random.Generator, path: Path, background: NDArray[Any]
) -> NDArray[np.float64]:
    """Write a file in a format and mode drawn at random; what is to be read from it, in RGB."""
    if rng.random() < 0.2:  # any size, of one colour
        width, height = rng.integers(1, 40, 2)
        rgb = np.broadcast_to(rng.integers(0, 256, 3), (height, width, 3)).astype(np.uint8)
        expected = np.broadcast_to(rgb[0, 0], (SIZE, SIZE, 3))
        Image.fromarray(rgb).save(path.with_suffix(rng.choice([".png", ".bmp", ".tif", ".ppm"])))
        return expected.astype(float)
    rgb = rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    grey, alpha = rgb[..., 0], rng.choice([0, 100, 255], (SIZE, SIZE)).astype(np.uint8)
    white = np.repeat(grey[..., None], 3, 2).astype(float)
    kind = rng.integers(12)
    match kind:
        case 0:
            suffix = rng.choice([".png", ".bmp", ".tiff", ".ppm", ".tga", ".qoi", ".PNG", ".sgi"])
            Image.fromarray(rgb).save(path.with_suffix(suffix))
            return rgb.astype(float)
        case 1:
            suffix = rng.choice([".png", ".bmp", ".tif", ".pgm", ".tga"])
            Image.fromarray(grey).save(path.with_suffix(suffix))
            return white
        case 2:
            rgba = Image.fromarray(np.dstack([rgb, alpha]))
            suffix = rng.choice([".png", ".tif", ".tga", ".qoi"])
            rgba.save(path.with_suffix(suffix))
            return over(rgb, alpha, background)
        case 3:
            Image.fromarray(np.dstack([grey, alpha])).save(path.with_suffix(".png"))
            return over(white, alpha, background)
        case 4:
            wide = grey.astype(np.uint16) * 257
            Image.fromarray(wide).save(path.with_suffix(rng.choice([".png", ".tif", ".pgm"])))
            return white
        case 5:
            palette = rng.integers(0, 256, (16, 3)).astype(np.uint8)
            chosen = (grey % 16).astype(np.uint8)
            image = Image.fromarray(chosen, "P")
            image.putpalette(palette.tobytes())
            if rng.random() < 0.5:
                image.save(path.with_suffix(".png"), transparency=3)
                opaque = np.where(chosen == 3, 0, 255)
                return over(palette[chosen], opaque, background)
            image.save(path.with_suffix(rng.choice([".png", ".gif", ".bmp", ".tif"])))
            return palette[chosen].astype(float)
        case 6:
            bits = grey > 127
            Image.fromarray(bits).save(path.with_suffix(rng.choice([".png", ".bmp", ".tif"])))
            return np.repeat(bits[..., None], 3, 2) * 255.0
        case 7:
            Image.fromarray(rgb).save(path.with_suffix(".webp"), lossless=True)
            return rgb.astype(float)
        case 8:
            turn = int(rng.integers(1, 9))
            image = Image.fromarray(rgb)
            exif = image.getexif()
            exif[274] = turn
            image.save(path.with_suffix(rng.choice([".png", ".tif"])), exif=exif)
            return TURNS[turn](rgb).astype(float)
        case 9:
            cmyk = np.dstack([255 - rgb, np.zeros((SIZE, SIZE), np.uint8)])
            Image.fromarray(cmyk, "CMYK").save(path.with_suffix(".tif"))
            return rgb.astype(float)
        case 10:
            key = tuple(map(int, rgb[0, 0]))
            Image.fromarray(rgb).save(path.with_suffix(".png"), transparency=key)
            opaque = np.where((rgb == rgb[0, 0]).all(2), 0, 255)
            return over(rgb, opaque, background)
        case _:
            second = Image.fromarray(255 - rgb)
            image = Image.fromarray(rgb)
            image.save(path.with_suffix(".tif"), save_all=True, append_images=[second])
            return rgb.astype(float)


def draw_bad(rng: np.random.Generator, path: Path, drawn: Drawn) -> None:
    """A file with an image's suffix that is none."""
    content = [b"", b"\0", b"not an image", rng.bytes(200), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
    path.with_suffix(rng.choice([".png", ".JPG", ".gif", ".webp", ".tif"])).write_bytes(
        content[rng.integers(len(content))]
    )
    drawn.bad += 1


def damage(rng: np.random.Generator, folder: Path, drawn: Drawn) -> None:
    """Change or cut bytes of a file at random: it may be read, and as anything."""
    paths = [path for path in folder.iterdir() if path.is_file() and path.stat().st_size]
    if paths:
        path = paths[rng.integers(len(paths))]
        content = bytearray(path.read_bytes())
        for _ in range(int(rng.integers(1, 5))):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content[: rng.integers(1, len(content) + 1)])
        drawn.unsure = True


def draw_clutter(rng: np.random.Generator, folder: Path) -> None:
    """What is to be left out."""
    for name in rng.choice(
        [".DS_Store", "Thumbs.db", "labels.csv", "notes.txt", ".hidden.png", "model.pt"], 2
    ):
        (folder / name).write_bytes(b"whatever this is")
    if rng.random() < 0.3:
        (folder / "up").symlink_to(folder.parent)
    if rng.random() < 0.3:
        (folder / "gone.png").symlink_to(folder / "nowhere.png")


def draw_class(
    rng: np.random.Generator, folder: Path, images: int, background: NDArray[Any], drawn: Drawn
) -> None:
    folder.mkdir(parents=True)
    drawn.classes.add(folder.name)
    for number in range(images):
        home = folder
        if rng.random() < 0.1:
            home = folder / "deeper" / str(number)
            home.mkdir(parents=True)
        drawn.images[folder.name].append(draw_image(rng, home / f"image {number}", background))
    if rng.random() < 0.3:
        draw_clutter(rng, folder)
    if rng.random() < 0.03:
        draw_bad(rng, folder / "bad", drawn)
    if rng.random() < 0.03:
        damage(rng, folder, drawn)


def draw_folder(rng: np.random.Generator, root: Path, background: NDArray[Any]) -> Drawn:
    drawn = Drawn()
    names = list(rng.choice(NAMES, rng.integers(1, 5), replace=False))
    if rng.random() < 0.1:
        names.append(rng.choice(SPLIT_LIKE))
        drawn.unsure = True
    low = 5 if rng.random() < 0.9 else 0
    splits = [[""], ["train", "test"], ["Train", "VAL"], ["train", "val", "test"]]
    for split in splits[rng.integers(len(splits))]:
        for name in names:
            count = int(rng.integers(low, 9))
            draw_class(rng, root / split / name, count, background, drawn)
            drawn.unsure |= count < 5
    drawn.unsure |= len(names) < 2
    return drawn


def grey_of(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R 601-2, as Pillow documents it."""
    return (images @ np.array([0.299, 0.587, 0.114]))[..., None]


def check(seed: int, root: Path) -> bool:
    """Draw a folder and load it; whether it loaded."""
    rng = np.random.default_rng(seed)
    colour = str(rng.choice(["#ffffff", "#000000", "#20c040"]))
    background = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, about ways of writing
        drawn = draw_folder(rng, root, background)
    channels = [None, 1, 3][rng.integers(3)]
    name, start = f"folder:{root}", time.process_time()
    how: dict[str, Any] = {"image_size": SIZE, "channels": channels, "background": colour}
    try:
        data = load_search_data(name, root, **how)
        test = load_test_data(name, root, **data.info.reading())
        refused = None
    except DatasetError as error:
        refused = str(error)
    assert time.process_time() - start < SECONDS, seed
    if refused is not None:
        assert "\n" not in refused
        assert drawn.bad or drawn.unsure, (seed, refused)
        return False
    assert not drawn.bad, seed
    if drawn.unsure:
        return True
    names = {name.replace("\t", "\\t"): name for name in drawn.classes}
    assert set(data.info.class_names) == set(names), seed
    for label, shown in enumerate(data.info.class_names):
        read = [
            image.transpose(1, 2, 0).astype(float)
            for split in (data.train, data.val, test)
            for image in split.images[split.labels == label].numpy()
        ]
        expected = drawn.images[names[shown]]
        assert len(read) == len(expected), seed
        for image in expected:
            wanted = image if data.info.in_channels == 3 else grey_of(image)
            closest = min(range(len(read)), key=lambda k: abs(read[k] - wanted).max())
            assert abs(read.pop(closest) - wanted).max() <= 2, (seed, shown)
    return True


@pytest.mark.parametrize(
    "seeds", [range(100), pytest.param(range(100, 2100), marks=pytest.mark.slow)]
)
def test_folders_drawn_at_random(seeds: range, tmp_path: Path) -> None:
    assert not any(map(split_of, NAMES))
    loaded = sum(check(seed, tmp_path / str(seed)) for seed in seeds)
    assert loaded > 0.4 * len(seeds)  # the others hold what is refused
