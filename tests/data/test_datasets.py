"""Loading, dividing and describing data sets; the test set stays out of reach."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import (
    DatasetError,
    DatasetInfo,
    SearchData,
    SplitRecord,
    datasets,
    download,
    fashion_mnist,
    folder_layout,
    load_search_data,
    load_test_data,
    resolve_dataset,
)

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", Path("/nowhere"))
    monkeypatch.setattr("nas.data.download.unreachable", lambda url: "no network")


@pytest.fixture(scope="module")
def digits() -> SearchData:
    return load_search_data("digits", Path("unused"))


def idx(array: np.ndarray, magic: int) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_fashion(
    folder: Path, images: int = 40, prefix: str = "train", zipped: bool = True
) -> None:
    rng = np.random.default_rng(len(prefix))
    pixels = rng.integers(0, 256, (images, 28, 28), dtype=np.uint8)
    labels = np.arange(images, dtype=np.uint8) % 10
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (f"{prefix}-images-idx3-ubyte", idx(pixels, 0x803)),
        (f"{prefix}-labels-idx1-ubyte", idx(labels, 0x801)),
    ):
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def write_folder(
    path: Path, per_class: int = 10, classes: tuple[str, ...] = ("cat", "dog")
) -> None:
    for index, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for number in range(per_class):
            colour = (index * 100, number * 10 % 256, 50)
            Image.new("RGB", (20, 10), colour).save(path / name / f"{number:03}.png")


def test_digits_are_divided_into_1000_437_and_360(digits: SearchData) -> None:
    test = load_test_data("digits", Path("unused"))
    assert (len(digits.train), len(digits.val), len(test)) == (1000, 437, 360)
    assert digits.train.images.shape[1:] == (1, 8, 8)
    assert int(digits.train.images.max()) == 255
    assert digits.info.num_classes == 10
    # Some digits are alike pixel for pixel, so images are counted, not compared.
    everything = torch.cat([digits.train.images, digits.val.images, test.images]).flatten(1)
    from sklearn.datasets import load_digits

    whole = np.sort(np.round(load_digits().images * 255 / 16).astype(np.uint8).reshape(1797, -1), 0)
    assert np.array_equal(np.sort(everything.numpy(), 0), whole)


def test_validation_split_follows_seed_and_fraction(digits: SearchData) -> None:
    again = load_search_data("digits", Path("unused"))
    other = load_search_data("digits", Path("unused"), seed=1)
    half = load_search_data("digits", Path("unused"), val_fraction=0.5)
    assert again.info == digits.info
    assert torch.equal(again.val.images, digits.val.images)
    assert len({d.info.fingerprint for d in (digits, other, half)}) == 3
    assert len(half.val) == round(1437 / 2)


def test_images_are_resized_on_request() -> None:
    data = load_search_data("digits", Path("unused"), image_size=16)
    assert data.train.images.shape[-2:] == (16, 16)
    assert (data.info.image_size, data.info.crop) == (16, 2)
    assert load_test_data("digits", Path("unused"), image_size=16).images.shape[-1] == 16


def test_crops_keep_their_share_of_the_image(tmp_path: Path, digits: SearchData) -> None:
    assert (digits.info.resized(16).crop, digits.info.resized(4).crop) == (2, 1)
    write_fashion(tmp_path)
    data = load_search_data("fashion-mnist", tmp_path, image_size=56)
    assert (data.info.crop, data.info.resized(14).crop, data.info.flip) == (0, 0, False)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inside", [".", "fashion-mnist", "FashionMNIST/raw"])
def test_fashion_mnist_is_searched_without_its_test_files(
    tmp_path: Path, inside: str, zipped: bool
) -> None:
    write_fashion(tmp_path / inside, zipped=zipped)
    data = load_search_data("fashion-mnist", tmp_path, val_fraction=0.25)
    assert (len(data.train), len(data.val)) == (30, 10)
    assert data.info.class_names[9] == "Ankle boot"
    with pytest.raises(DatasetError, match="cannot be downloaded"):
        load_test_data("fashion-mnist", tmp_path)
    write_fashion(tmp_path / inside, 20, "t10k", zipped)
    assert len(load_test_data("fashion-mnist", tmp_path)) == 20


def test_damaged_test_files_do_not_disturb_a_search(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"damaged")
    assert load_search_data("fashion-mnist", tmp_path, val_fraction=0.25)


def damage_magic(content: bytes) -> bytes:
    return gzip.compress(b"\0\0\10\1" + gzip.decompress(content)[4:])


def damage_sides(content: bytes) -> bytes:
    raw = gzip.decompress(content)
    return gzip.compress(raw[:8] + struct.pack(">2I", 56, 14) + raw[16:])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], "cannot be read"),
        (lambda content: content[:500] + b"\xff" * 100 + content[600:], "gzip|cannot be read|CRC"),
        (lambda content: b"", "damaged"),
        (lambda content: b"not gzip at all", "cannot be read"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1]), "damaged"),
        (lambda content: gzip.compress(gzip.decompress(content) + b"x"), "damaged"),
        (lambda content: gzip.compress(b"\0\0\10\3"), "damaged"),
        (damage_magic, "damaged"),
        (damage_sides, r"images of \[56, 14\]; accepted: 28x28"),
    ],
)
def test_damaged_fashion_mnist_is_one_line_with_the_file(
    tmp_path: Path, damage: Callable[[bytes], bytes], words: str
) -> None:
    write_fashion(tmp_path)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=words) as caught:
        load_search_data("fashion-mnist", tmp_path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_fit_the_images(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    path = tmp_path / f"{TRAIN_LABELS}.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(39, dtype=np.uint8), 0x801)))
    with pytest.raises(DatasetError, match="39 labels for 40 images"):
        load_search_data("fashion-mnist", tmp_path)
    path.write_bytes(gzip.compress(idx(np.full(40, 10, dtype=np.uint8), 0x801)))
    with pytest.raises(DatasetError, match="label 10"):
        load_search_data("fashion-mnist", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist"])
def test_missing_data_set_without_a_network(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=f"^{name}: not found .*no network"):
        load_search_data(name, tmp_path / "data")
    with pytest.raises(DatasetError, match=f"^{name}: not found"):
        load_search_data(name, tmp_path / "data", download=False)
    assert list(tmp_path.iterdir()) == []


def test_damaged_cifar_is_not_downloaded_over(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="incomplete or damaged"):
        load_search_data("cifar10", tmp_path)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        reason = download.unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert time.monotonic() - start < 2
    assert reason


def test_auto_takes_what_is_there_and_says_why(tmp_path: Path) -> None:
    name, why = resolve_dataset("auto", tmp_path, gpu=False)
    assert name == "digits"
    assert "no network" in why
    assert resolve_dataset("auto", tmp_path, gpu=True)[0] == "digits"
    write_fashion(tmp_path)
    assert resolve_dataset("auto", tmp_path, gpu=False)[0] == "fashion-mnist"
    (tmp_path / f"{TRAIN_IMAGES}.gz").write_bytes(b"damaged")
    name, why = resolve_dataset("auto", tmp_path, gpu=False)
    assert name == "digits"
    assert TRAIN_IMAGES in why


def test_a_named_data_set_is_never_replaced(tmp_path: Path) -> None:
    for name in (*datasets.SOURCES, f"folder:{tmp_path}"):
        assert resolve_dataset(name, tmp_path, gpu=False) == (name, "asked for")
    for name in ("imagenet", "folder:", "", "Digits"):
        with pytest.raises(DatasetError, match=r"--dataset: .*accepted: auto, digits, fashion"):
            resolve_dataset(name, tmp_path, gpu=False)


def test_a_folder_of_images(tmp_path: Path) -> None:
    write_folder(tmp_path)
    data = load_search_data(f"folder:{tmp_path}", Path("unused"))
    assert data.info.class_names == ("cat", "dog")
    assert (data.info.image_size, data.info.in_channels) == (32, 3)
    test = load_test_data(f"folder:{tmp_path}", Path("unused"), image_size=16)
    assert test.images.shape == (4, 3, 16, 16)
    assert len(data.train) + len(data.val) == 16
    assert torch.equal(test.images[:, 0, 0, 0].long(), test.labels * 100)


@pytest.mark.parametrize("own_test", [False, True])
def test_no_pixel_of_the_test_split_reaches_a_search(tmp_path: Path, own_test: bool) -> None:
    write_folder(tmp_path / "train" if own_test else tmp_path)
    if own_test:
        write_folder(tmp_path / "test", 3)
    name = f"folder:{tmp_path}"
    before = load_search_data(name, Path("unused"))
    paths = folder_layout.find_layout(tmp_path).test.paths
    for path in paths:  # transparent, grey, of another size: nothing that a split is read by
        Image.new("LA", (40, 40), (7, 7)).save(path)
    after = load_search_data(name, Path("unused"))
    assert after.info == before.info
    assert torch.equal(after.train.images, before.train.images)
    assert torch.equal(after.val.images, before.val.images)
    said = [[text for text in one.notes.warnings if "test images" not in text]
            for one in (before, after)]  # fmt: skip
    assert said[0] == said[1]
    assert after.record.test_change(before.record)  # told, and compared with nothing else


@pytest.mark.parametrize("own_test", [False, True])
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".png", lambda content: b"damaged"),
        (".png", lambda content: content[: len(content) // 2]),
        (".jpg", lambda content: content[: len(content) // 2]),  # what verify() does not see
        (".bmp", lambda content: content[:-20]),
    ],
)
def test_a_test_image_that_cannot_be_read_is_refused_before_a_search(
    tmp_path: Path, own_test: bool, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    write_folder(tmp_path / "train" if own_test else tmp_path)
    if own_test:
        write_folder(tmp_path / "test", 3)
    path = folder_layout.find_layout(tmp_path).test.paths[1]
    path = path.replace(path.with_suffix(suffix))
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(damage(path.read_bytes()))
    for load in (load_search_data, load_test_data):
        with pytest.raises(DatasetError, match=rf"{path.name}: not an image that can be read"):
            load(f"folder:{tmp_path}", Path("unused"))


def test_a_changed_test_set_is_known_by_its_contents_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "test", 3)
    name = f"folder:{tmp_path}"
    before = load_search_data(name, Path("unused")).record
    (tmp_path / "test" / "cat" / "000.png").rename(tmp_path / "test" / "cat" / "zzz.png")
    again = load_search_data(name, Path("unused"), image_size=8).record
    assert again == before
    assert before.test_change(again) == ""
    (tmp_path / "test" / "cat" / "zzz.png").unlink()
    fewer = load_search_data(name, Path("unused")).record
    assert before.test_change(fewer).endswith("since the search began: 6 images then, 5 now")
    assert before.change(fewer) == ""
    Image.new("RGB", (9, 9)).save(tmp_path / "test" / "cat" / "new.png")
    other = load_search_data(name, Path("unused")).record
    assert before.test_change(other).endswith("6 images, not all with the same contents")
    (tmp_path / "train" / "cat" / "000.png").unlink()
    smaller = load_search_data(name, Path("unused")).record
    assert before.change(smaller) == ("16 training and 4 validation images then, 15 and 4 now")
    one = SplitRecord(1, 1, 1, "then")
    assert one.test_change(SplitRecord(1, 1, 2, "now")).endswith("began: 1 image then, 2 now")
    assert one.change(before) == "1 training and 1 validation image then, 16 and 4 now"
    digits = load_search_data("digits", Path("unused")).record
    assert digits.test_change(digits) == ""


def test_a_folder_with_a_test_set_of_its_own(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    data = load_search_data(f"folder:{tmp_path}", Path("unused"), image_size=8)
    assert len(data.train) + len(data.val) == 16  # a fifth is held out for the test set
    assert data.notes.origin["val"] == "20 % of the rest of train/, held out"  # of 16, not of 20
    assert len(load_test_data(f"folder:{tmp_path}", Path("unused"))) == 4
    write_folder(tmp_path / "test", 1, ("cat", "dog"))
    own_test = load_search_data(f"folder:{tmp_path}", Path("unused"), image_size=8)
    assert own_test.notes.origin["val"] == "20 % of train/, held out"
    assert len(load_test_data(f"folder:{tmp_path}", Path("unused"), image_size=8)) == 2
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "wolf")
    with pytest.raises(DatasetError, match="class 'dog' is in only one"):
        load_test_data(f"folder:{tmp_path}", Path("unused"))


def break_too_few(path: Path) -> None:
    write_folder(path, 4)


def break_one_class(path: Path) -> None:
    write_folder(path, classes=("cat",))


def break_image(path: Path) -> None:
    write_folder(path)
    image = folder_layout.find_layout(path).train.paths[0]
    image.write_bytes(image.read_bytes()[:45])


def break_by_bomb(path: Path) -> None:
    write_folder(path)
    Image.new("1", (10_000, 10_000)).save(folder_layout.find_layout(path).train.paths[0])


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: None, "0 class folders"),
        (lambda path: path.rmdir(), "no such folder"),
        (break_one_class, "1 class folder; accepted: 2"),
        (break_too_few, "class 'cat' has 4 images; accepted: at least 5"),
        (break_image, r"\.png: not an image"),
        (break_by_bomb, r"\.png: 10000x10000 pixels"),
    ],
)
def test_a_folder_that_is_wrong_is_one_line(
    tmp_path: Path, prepare: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "images"
    path.mkdir()
    prepare(path)
    with pytest.raises(DatasetError, match=words) as caught:
        load_search_data(f"folder:{path}", Path("unused"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, -1, 3, 513, 10**9])
def test_image_size_is_limited(size: int) -> None:
    with pytest.raises(DatasetError, match="--image-size"):
        load_search_data("digits", Path("unused"), image_size=size)


def test_description_survives_json(digits: SearchData) -> None:
    text = json.dumps(digits.info.to_dict())
    assert DatasetInfo.from_dict(json.loads(text)) == digits.info


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 3}, "name"),
        ({"image_size": "8"}, "image_size"),
        ({"image_size": 10**9}, "contradicts"),
        ({"in_channels": 3}, "contradicts"),
        ({"std": [0.0]}, "contradicts"),
        ({"std": [float("nan")]}, "data set"),
        ({"class_names": []}, "contradicts"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_damaged_description(digits: SearchData, change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        DatasetInfo.from_dict(digits.info.to_dict() | change)
    assert "\n" not in str(caught.value)
