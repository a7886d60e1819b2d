"""Folders of images as people have them: what a dry run says of each, or how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Write = Callable[[Path, int], None]
"""Writes an image of 8x8 pixels whose content follows from a number."""


def pixels(number: int, *shape: int) -> Any:
    return np.random.default_rng(number).integers(0, 256, (8, 8, *shape), dtype=np.uint8)


def saved(mode: str = "RGB", **options: Any) -> Write:
    """Write an RGB image that is converted to `mode`."""

    def write(path: Path, number: int) -> None:
        Image.fromarray(pixels(number, 3)).convert(mode).save(path, **options)

    return write


def glyph(path: Path, number: int) -> None:
    """Black everywhere; what is drawn is in the transparency alone."""
    image = np.zeros((8, 8, 4), np.uint8)
    image[..., 3] = pixels(number)
    Image.fromarray(image).save(path)


def sixteen_bits(path: Path, number: int) -> None:
    Image.fromarray(pixels(number).astype(np.uint16) * 257).save(path)


def animated(path: Path, number: int) -> None:
    first, second = (Image.fromarray(pixels(number + k, 3)) for k in (0, 5000))
    first.save(path, save_all=True, append_images=[second])


def text(path: Path, number: int) -> None:
    path.write_text(f"{number}: of no interest\n")


def empty(path: Path, number: int) -> None:
    path.touch()


def cut(path: Path, number: int) -> None:
    saved()(path, number)
    path.write_bytes(path.read_bytes()[:60])


def floats(path: Path, number: int) -> None:
    Image.fromarray(pixels(number).astype(np.float32)).save(path)


PNG = saved()
Tree = dict[str, int | tuple[int, Write]]
"""Numbers of files by folder and suffix, as in {"a/*.png": 10}; a folder alone has PNG files."""


def plant(root: Path, tree: Tree) -> None:
    for index, (place, what) in enumerate(tree.items()):
        count, write = what if isinstance(what, tuple) else (what, PNG)
        folder, star, suffix = place.partition("*")
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write(root / folder / f"{number}{suffix if star else '.png'}", 1000 * index + number)


def copy_two(root: Path) -> None:
    for name in ("a/0.png", "b/0.png"):
        (root / "test" / name).write_bytes((root / "train" / name).read_bytes())


def pipe(root: Path) -> None:
    os.mkfifo(root / "a" / "pipe.png")


@dataclass(frozen=True)
class Loads:
    classes: tuple[str, ...] = ("a", "b")
    train: int = 13
    val: int = 3  # a fifth of 16
    test: int = 4  # a fifth of 20
    channels: int = 3
    background: str | None = None
    ignored: dict[str, int] = field(default_factory=dict)
    warns: tuple[str, ...] = ()  # words of each warning


@dataclass(frozen=True)
class Case:
    name: str
    tree: Tree
    expected: Loads | str  # the words of the line that refuses it
    links: dict[str, str] = field(default_factory=dict)
    then: Callable[[Path], None] | None = None
    options: tuple[str, ...] = ()


FLAT: Tree = {"a": 10, "b": 10}
SPLIT: Tree = {"train/a": 10, "train/b": 10, "test/a": 3, "test/b": 3}
WITH_TEST = Loads(train=16, val=4, test=6)

CASES = [
    Case("a folder a class", FLAT, Loads()),
    Case("train and test", SPLIT, WITH_TEST),
    Case(
        "Train and Test",
        {"Train/a": 10, "Train/b": 10, "Test/a": 3, "Test/b": 3},
        WITH_TEST,
    ),
    Case(
        "TRAINING, valid, testing",
        {
            f"{split}/{c}": n
            for split, n in (("TRAINING", 10), ("valid", 4), ("testing", 3))
            for c in "ab"
        },
        Loads(train=20, val=8, test=6),
    ),
    Case(
        "train_set and Test-Images",
        {f"{split}/{c}": n for split, n in (("train_set", 10), ("Test-Images", 3)) for c in "ab"},
        WITH_TEST,
    ),
    Case(
        "train2017 and val2017",
        {f"{split}/{c}": n for split, n in (("train2017", 10), ("val2017", 3)) for c in "ab"},
        WITH_TEST,  # the validation folder serves as the test set
    ),
    Case(
        "seg_train and seg_test",
        {f"{split}/{c}": n for split, n in (("seg_train", 10), ("seg_test", 3)) for c in "ab"},
        WITH_TEST,
    ),
    Case("train alone", {"train/a": 10, "train/b": 10}, Loads()),
    Case(
        "split folders beside notes",
        SPLIT | {"docs/*.txt": (2, text)},
        Loads(train=16, val=4, test=6, ignored={"folders without images": 1}),
    ),
    Case(
        "classes in train that are named like splits",
        {"train/train": 10, "train/car": 10, "test/train": 3, "test/car": 3},
        Loads(("car", "train"), train=16, val=4, test=6),
    ),
    Case(
        "unlabelled test images",
        {"OK": 10, "NG": 10, "test": 5},
        "'test' is a split's name and stands beside the folders 'NG', 'OK'",
    ),
    Case(
        "a class called train",
        {"train": 10, "car": 10},
        "'train' is a split's name and stands beside the folders 'car'",
    ),
    Case("a flat folder called train", {"train": 20}, "0 class folders and 20 images beside"),
    Case("test without train", {"test/a": 10, "test/b": 10}, "'test' is a split's name and has no"),
    Case(
        "two names of one split",
        SPLIT | {"Training/a": 5},
        "'Training' and 'train' are both names of the train split",
    ),
    Case("a class in train only", SPLIT | {"train/c": 10}, "class 'c' is in only one of"),
    Case(
        "splits inside classes",
        {f"{c}/{s}": 8 for c in "ab" for s in ("train", "test")},
        "a: holds 'test', a split's name, in a class",
    ),
    Case(
        "a folder around the classes",
        {"images/a": 10, "images/b": 10},
        "1 class folder; accepted: 2 to 10000, one a class",
    ),
    Case("no class folders", {".": 20}, "0 class folders and 20 images beside"),
    Case("one class", {"a": 20}, "1 class folder; "),
    Case("an empty class", FLAT | {"c": 0}, "class 'c' has 0 images"),
    Case("a class of one image", FLAT | {"c": 1}, "class 'c' has 1 image; accepted: at least 5"),
    Case("nested folders in a class", {"a/2021/x": 5, "a/2022": 5, "b": 10}, Loads()),
    Case(
        "classes named inside a class",
        {"a/a": 5, "a/b": 5, "b": 10},
        Loads(warns=("'a' holds folders named like classes ('a', 'b')",)),
    ),
    Case(
        "classes one level down",
        {f"{t}/{c}": 5 for t in ("day", "night") for c in "ab"},
        Loads(("day", "night"), warns=("every class folder holds the same folders ('a', 'b')",)),
    ),
    Case(
        "images beside the classes",
        FLAT | {".": 3},
        Loads(ignored={".png beside the class folders": 3}),
    ),
    Case(
        "texts beside the images",
        FLAT | {"a/*.txt": (3, text), "b/*.json": (2, text)},
        Loads(ignored={".txt": 3, ".json": 2}),
    ),
    Case(
        "what systems leave behind",
        FLAT | {"__MACOSX/a": 5, ".git": 3, "a/*.DS_Store": (1, text), "b/.ipynb_checkpoints": 5},
        Loads(ignored={"hidden": 3, ".ds_store": 1}),
    ),
    Case(
        "suffixes that are rare",
        {
            "a/*.jfif": (5, saved(format="JPEG")),
            "a/*.JPE": (5, saved(format="JPEG")),
            "b/*.avif": (5, saved()),
            "b/*.jp2": (5, saved()),
        },
        Loads(),
    ),
    Case("files without a suffix", {"a": 10, "b/*": (10, saved(format="PNG"))}, Loads()),
    Case("a wrong suffix", {"a": 10, "b/*.png": (10, saved(format="JPEG"))}, Loads()),
    Case(
        "files that no program here reads",
        FLAT | {"a/*.heic": (4, text), "b/*.svg": (3, text)},
        Loads(
            ignored={".heic": 4, ".svg": 3},
            warns=("4 HEIC files left out; to read them: pip install pillow-heif",),
        ),
    ),
    Case(
        "a telephone's photographs alone",
        {"a": 10, "b/*.HEIC": (10, text)},
        "5 in each class folder (10 .heic ignored); 10 HEIC files left out; to read them: pip",
    ),
    Case(
        "a test folder with a file that is cut",
        {"train/a": 10, "train/b": 10, "test/a": 3, "test/b/*.jpg": (1, cut)},
        "test/b/0.jpg: not an image that can be read",
    ),
    Case(
        "test images without classes",
        {"train/a": 10, "train/b": 10, "test": 5},
        "test/CLASS/*; without 'test' a part of the training images is held out instead",
    ),
    Case(
        "files that are cut in every split",
        {f"{split}/{c}/*.jpg": (3, cut) for split in ("train", "val", "test") for c in "ab"},
        "2.jpg: not an image that can be read (Truncated File Read); and 15 more",
    ),
    Case(
        "a test folder with an empty file",
        SPLIT | {"test/b/*.webp": (1, empty)},
        "0.webp: not an image that can be read",
    ),
    Case(
        "a test folder of floating point",
        {"train/a": 10, "train/b": 10, "test/a": 3, "test/b/*.tif": (3, floats)},
        "0.tif: TIFF in mode F",
    ),
    Case(
        "transparency alone",
        {"a": (10, glyph), "b": (10, glyph)},
        Loads(channels=1, background="#ffffff"),
    ),
    Case(
        "transparency on red",
        {"a": (10, glyph), "b": (10, glyph)},
        Loads(background="#ff0000", warns=("green channel hardly varies", "blue channel hardly")),
        options=("--background", "red"),
    ),
    Case("grey in 8 bits", {"a": (10, saved("L")), "b": (10, saved("L"))}, Loads(channels=1)),
    Case(
        "grey as RGB",
        {"a": (10, saved("L")), "b": (10, saved("L"))},
        Loads(channels=3),
        options=("--channels", "3"),
    ),
    Case("colour as grey", FLAT, Loads(channels=1), options=("--channels", "1")),
    Case(
        "grey in 16 bits",
        {"a": (10, sixteen_bits), "b/*.tif": (10, sixteen_bits)},
        Loads(channels=1),
    ),
    Case("one bit", {"a": (10, saved("1")), "b/*.bmp": (10, saved("1"))}, Loads(channels=1)),
    Case("palettes", {"a": (10, saved("P")), "b/*.gif": (10, saved("P"))}, Loads()),
    Case("CMYK", {"a/*.jpg": (10, saved("CMYK")), "b/*.tiff": (10, saved("CMYK"))}, Loads()),
    Case("floating point", FLAT | {"b/*.tif": (1, floats)}, "0.tif: TIFF in mode F"),
    Case(
        "several frames",
        {"a/*.gif": (10, animated), "b/*.webp": (10, animated)},
        Loads(warns=("13 files with several frames or pages: the first one counts",)),
    ),
    Case("an empty file", FLAT | {"b/*.webp": (1, empty)}, "0.webp: not an image that can be read"),
    Case("files that are cut", FLAT | {"b/*.PNG": (40, cut)}, "; and 37 more"),
    Case(
        "linked images",
        {".store": 10, "a": 10},
        Loads(ignored={"hidden": 1}),
        links={f"b/{n}.png": f".store/{n}.png" for n in range(10)},
    ),
    Case(
        "a linked class",
        {"a": 10, ".store": 10},
        Loads(ignored={"hidden": 1}),
        links={"b": ".store"},
    ),
    Case(
        "links in a circle",
        FLAT,
        Loads(ignored={"circular links": 2}),
        links={"a/up": ".", "b/more/up": "b"},
    ),
    Case(
        "links to nothing",
        FLAT,
        Loads(ignored={"broken links and other things that are no files": 2}),
        links={"a/gone.png": "gone", "b/own": "b/own"},
    ),
    Case(
        "a pipe",
        FLAT,
        Loads(ignored={"broken links and other things that are no files": 1}),
        then=pipe,
    ),
    Case(
        "names of many kinds",
        {"a cat, black": 10, "größe": 10, "猫": 10},
        Loads(("a cat, black", "größe", "猫"), 19, 5, 6),
    ),
    Case(
        "names that are almost the same",
        {"Cat": 10, "cat": 10},
        Loads(("Cat", "cat"), warns=("'Cat', 'cat' have almost the same name",)),
    ),
    Case(
        "names in two normal forms",
        {"\u00e9": 10, "e\u0301": 10},
        Loads(("e\u0301", "\u00e9"), warns=("have almost the same name",)),
    ),
    Case("a name with a line break", {"a\nb": 10, "c": 10}, Loads(("a\\nb", "c"))),
    Case(
        "copies in the test set",
        SPLIT,
        Loads(
            train=16,
            val=4,
            test=6,
            warns=("2 of 6 test images with a copy among the training or validation images",),
        ),
        then=copy_two,
    ),
    Case(
        "identical images",
        {
            "a": (10, lambda path, number: PNG(path, 0)),
            "b": (10, lambda path, number: PNG(path, 0)),
        },
        Loads(
            warns=(
                "13 of 13 training images are identical",
                "13 training images with a copy in another",
                "3 of 3 validation images with a copy among",
                "4 of 4 test images with a copy among",
            )
        ),
    ),
    Case(
        "classes of very different size",
        {"a": 100, "b": 10},
        Loads(
            train=70,
            val=18,
            test=22,
            warns=("classes differ in size: 64 training images of 'a', 6 of 'b'",),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_dry_run(run_runner: Callable[..., Any], tmp_path: Path, case: Case) -> None:
    if "heic" in str(case.tree).lower() and find_spec("pillow_heif"):
        pytest.skip("pillow-heif is installed, so .heic files are read")
    root = tmp_path / "photos"
    plant(root, case.tree)
    for name, target in case.links.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(root / target)
    if case.then is not None:
        case.then(root)
    before = sorted(tmp_path.rglob("*"))
    ran = run_runner(
        *("search", "--budget", "3", "--space", "tiny", "--image-size", "8"),
        *("--dataset", "folder:photos", "--dry-run", "--json", "--quiet", *case.options),
    )
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written
    if isinstance(case.expected, str):
        assert ran.code == 2, ran.out
        assert case.expected in ran.err
        assert len(ran.err.splitlines()) == 1
        return
    assert ran.code == 0, ran.err
    assert ran.err == ""
    data = json.loads(ran.out)["data"]
    expected = case.expected
    assert tuple(data["classes"]) == expected.classes
    assert list(data["images"].values()) == [expected.train, expected.val, expected.test]
    assert (data["channels"], data["background"]) == (expected.channels, expected.background)
    assert data["ignored"] == expected.ignored
    assert len(data["warnings"]) == len(expected.warns), data["warnings"]
    for words in expected.warns:
        assert any(words in warning for warning in data["warnings"]), data["warnings"]


@pytest.mark.parametrize(
    ("options", "own", "trained"),
    [
        ((), 32, 16),
        (("--image-size", "64"), 64, 64),
        (("--image-size", "64", "--recipe", "short-cpu-subset"), 64, 64),
        (("--recipe", "full"), 32, 32),
    ],
)
def test_the_size_that_is_asked_for_is_trained_at(
    run_runner: Callable[..., Any], tmp_path: Path, options: tuple[str, ...], own: int, trained: int
) -> None:
    plant(tmp_path / "photos", FLAT)
    search = ("search", "--budget", "3", "--space", "tiny", "--dry-run", "-q", "--dataset")
    data = json.loads(run_runner(*search, "folder:photos", "--json", *options).out)["data"]
    assert (data["image_size"], data["trained_size"]) == (own, trained)
    words = run_runner(*search, "folder:photos", *options).out
    assert ("trained at 16x16; --image-size N trains at N" in words) == (own != trained)


def test_bytes_that_are_not_utf8(run_runner: Callable[..., Any], tmp_path: Path) -> None:
    root = tmp_path / "photos"
    plant(root, FLAT)
    (root / "a").rename(root / os.fsdecode(b"caf\xe9"))
    search = ("search", "--budget", "3", "--space", "tiny", "--dry-run", "-q")
    ran = run_runner(*search, "--dataset", "folder:photos", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["data"]["classes"] == ["b", "caf\\xe9"]
    root.rename(tmp_path / os.fsdecode(b"\xe9"))
    ran = run_runner(*search, "--dataset", "folder:" + os.fsdecode(b"\xe9"))
    assert ran.code == 2
    assert "the path is not UTF-8; accepted: another name, or a symbolic link" in ran.err


def test_a_locale_that_knows_ascii_alone(tmp_path: Path) -> None:
    plant(tmp_path / "größe", {"größe": 10, "猫": 10})
    runner = Path(__file__).parents[2] / "runners" / "search.py"
    search = ("search", "--budget", "3", "--space", "tiny", "--dry-run", "--dataset")
    ran = subprocess.run(
        [sys.executable, runner, *search[1:], "folder:größe"],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert "2: größe, 猫" in ran.stdout.decode()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_what_may_not_be_read(run_runner: Callable[..., Any], tmp_path: Path) -> None:
    plant(tmp_path / "photos", FLAT)
    search = ("search", "--budget", "3", "--dry-run", "-q", "--dataset", "folder:photos")
    for path in (tmp_path / "photos" / "a" / "0.png", tmp_path / "photos" / "b"):
        path.chmod(0)
        ran = run_runner(*search)
        path.chmod(0o700)
        assert ran.code == 2
        assert "Permission denied" in ran.err
