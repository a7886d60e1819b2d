"""Every mistake of a user: exit code 2, one error line that names it, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.space.arch import table2_arch
from nas.space.cost import cost

SEARCH = ("search", "--budget", "3", "--dataset", "digits")

ARGUMENTS: list[tuple[tuple[str, ...], str]] = [
    (("search", "--budget", "0"), "--budget"),
    (("search", "--budget", "many"), "--budget"),
    (("search", "--dataset", "digits"), "--budget"),
    (("search", "--buget", "3"), "--buget"),
    ((*SEARCH, "surplus"), "surplus"),
    ((*SEARCH, "--space", "missing.yaml"), "missing.yaml"),
    ((*SEARCH, "--space", "tyni"), "accepted: dyclotnet, tiny, or a YAML file"),
    (("search", "--budget", "3", "--dataset", "imagenet"), "imagenet"),
    (("search", "--budget", "3", "--dataset", "folder:missing"), "missing"),
    ((*SEARCH, "--objectives", "accuracy"), "--objectives"),
    ((*SEARCH, "--objectives", "accuracy,flops"), "flops"),
    ((*SEARCH, "--objectives", "accuracy,macs,macs"), "--objectives"),
    ((*SEARCH, "--sampler", "magic"), "--sampler"),
    ((*SEARCH, "--recipe", "quick"), "quick"),
    ((*SEARCH, "--epochs", "0"), "epochs"),
    ((*SEARCH, "--metric", "f1"), "--metric"),
    ((*SEARCH, "--channels", "2"), "--channels"),
    ((*SEARCH, "--channels", "3"), "digits has 1"),
    ((*SEARCH, "--background", "red"), "digits has no transparent pixels"),
    (("search", "--budget", "3", "--dataset", "folder:x", "--background", "colour"), "colour"),
    ((*SEARCH, "--learning-rate", "-1"), "--learning-rate"),
    ((*SEARCH, "--max-macs", "20X"), "--max-macs"),
    ((*SEARCH, "--max-macs", "10"), "--max-macs"),
    ((*SEARCH, "--max-params", "10"), "--max-params"),
    ((*SEARCH, "--max-memory", "256kk"), "--max-memory: '256kk'; accepted: bytes such as"),
    ((*SEARCH, "--max-memory", "0"), "--max-memory"),
    ((*SEARCH, "--max-flash", "1 meter"), "--max-flash"),
    ((*SEARCH, "--max-memory", "1k"), "--max-memory 1024: no architecture of dyclotnet is"),
    ((*SEARCH, "--max-flash", "1k"), "accepted: at least"),
    ((*SEARCH, "--device", "pdp11"), "accepted: stm32f746, "),
    ((*SEARCH, "--device", "rp2040", "--max-memory", "9"), "--max-memory 9 (--device rp2040)"),
    (
        (*SEARCH, "--max-flash", "2500", "--max-macs", "15500"),
        "--max-macs 15500 --max-flash 2500: no architecture of dyclotnet is within all",
    ),
    ((*SEARCH, "--timeout", "soon"), "--timeout"),
    ((*SEARCH, "--storage", "mysql://localhost/db"), "--storage"),
    ((*SEARCH, "--storage", "no url"), "--storage"),
    ((*SEARCH, "--study", "../escape"), "--study"),
    ((*SEARCH, "--concurrency", "0"), "--concurrency"),
    ((*SEARCH, "--cpus-per-trial", "0"), "--cpus-per-trial"),
    ((*SEARCH, "--max-failures", "-1"), "--max-failures"),
    ((*SEARCH, "--max-failures", "120%"), "--max-failures"),
    ((*SEARCH, "--max-failures", "few"), "--max-failures"),
    ((*SEARCH, "--trial-timeout", "soon"), "--trial-timeout"),
    ((*SEARCH, "--seed", "-1"), "--seed"),
    ((*SEARCH, "--train-images", "9"), "--train-images"),
    ((*SEARCH, "--gpus-per-trial", "64"), "--gpus-per-trial"),
    ((*SEARCH, "--gpus-per-trial", "1.5"), "--gpus-per-trial"),
    ((*SEARCH, "--gpus-per-trial", "inf"), "--gpus-per-trial"),
    ((*SEARCH, "--gpus-per-trial", "nan"), "--gpus-per-trial"),
    ((*SEARCH, "--ray-address", "127.0.0.1:1"), "--ray-address"),
    (("retrain", "missing.json"), "missing.json"),
    (("retrain", "."), "accepted: the front.json of a study"),
    (("predict", "missing", "image.png"), "accepted: the folder of a retrained network"),
    (("predict", "missing", "image.png", "--top", "0"), "--top"),
]


def assert_one_line(ran: Any, names: str) -> None:
    assert ran.code == 2, ran
    *begun, error = ran.err.strip().splitlines()
    assert len(begun) <= 1, ran.err  # what the command set out to do
    assert error.startswith("error: ")
    assert names in error
    assert "Traceback" not in ran.err
    assert not Path("results").exists()


@pytest.mark.parametrize(("arguments", "names"), ARGUMENTS, ids=lambda value: str(value)[:60])
def test_arguments(run_runner: Callable[..., Any], arguments: tuple[str, ...], names: str) -> None:
    assert_one_line(run_runner(*arguments), names)


def test_a_folder_that_cannot_be(run_runner: Callable[..., Any]) -> None:
    Path("notes").write_text("")
    for results in ("notes", "notes/deep/down"):
        ran = run_runner(*SEARCH, "--results", results, "--dry-run")
        assert_one_line(ran, "notes is a file")


STAGE = "{width: 16, stride: 1, repeats: 1, p: 2}"

SPACES = {
    "unknown key": (f"stem: 8\nwidth_multiplier: 1\nstages: [{STAGE}]\ndepth: 3\n", "line 4"),
    "wrong type": (f"stem: eight\nwidth_multiplier: 1\nstages: [{STAGE}]\n", "line 1: stem"),
    "missing key": (f"stem: 8\nstages: [{STAGE}]\n", "width_multiplier"),
    "out of range": (
        "stem: 8\nwidth_multiplier: 1\nstages:\n  - width: 16\n    stride: 3\n    repeats: 1\n"
        "    p: 2\n",
        "line 5: stages[0].stride",
    ),
    "no YAML": ("stem: [8\n", "line"),
    "a list": ("- 1\n- 2\n", "mapping"),
    "empty": ("", "mapping"),
    "no expansion": (
        "stem: 8\nwidth_multiplier: 1\nstages:\n  - {width: 16, stride: 1, repeats: 1, p: 2, "
        "expansion: [conv]}\n",
        "expansion",
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_space_files(run_runner: Callable[..., Any], name: str) -> None:
    text, names = SPACES[name]
    Path("space.yaml").write_text(text)
    assert_one_line(run_runner(*SEARCH, "--space", "space.yaml"), names)


def test_binary_space_file(run_runner: Callable[..., Any]) -> None:
    Path("space.yaml").write_bytes(bytes(range(256)))
    assert_one_line(run_runner(*SEARCH, "--space", "space.yaml"), "space.yaml")


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)


def empty(folder: Path) -> None:
    folder.mkdir()


def no_images(folder: Path) -> None:
    (folder / "cat").mkdir(parents=True)
    (folder / "dog").mkdir()


def one_image_of_a_class(folder: Path) -> None:
    for index in range(20):
        image(folder / "cat" / f"{index}.png")
    image(folder / "dog" / "0.png")


def unreadable(folder: Path) -> None:
    for kind in ("cat", "dog"):
        for index in range(20):
            image(folder / kind / f"{index}.png")
    (folder / "dog" / "3.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (empty, "images"),
        (no_images, "images"),
        (one_image_of_a_class, "dog"),
        (unreadable, "3.png"),
    ],
)
def test_data_folders(
    run_runner: Callable[..., Any], make: Callable[[Path], None], names: str
) -> None:
    make(Path("images"))
    ran = run_runner("search", "--budget", "3", "--dataset", "folder:images")
    assert_one_line(ran, names)


def test_a_folder_without_its_prefix(run_runner: Callable[..., Any]) -> None:
    Path("photos").mkdir()
    ran = run_runner("search", "--budget", "3", "--dataset", "photos")
    assert_one_line(ran, "'photos'; accepted: auto, digits, ")
    assert "did you mean folder:photos?" in ran.err


def test_a_file_that_is_no_database(run_runner: Callable[..., Any]) -> None:
    Path("study.db").write_text("not a database, but long enough to be taken for one " * 10)
    ran = run_runner(*SEARCH, "--storage", f"sqlite:///{Path('study.db').resolve()}")
    assert_one_line(ran, "study.db")


def front(**changes: Any) -> dict[str, Any]:
    """The contents of a front file with one Table 2 network, and `changes` to its entry."""
    arch = table2_arch()
    counted = cost(arch, 8, 1, 10)
    entry = {
        "arch_id": arch.arch_id,
        "arch": arch.to_dict(),
        "accuracy": 0.9,
        "macs": counted.macs,
        "params": counted.params,
        "trial": 0,
        "seed": 0,
        "epochs": 2,
        "knee": True,
    }
    return {
        "schema_version": 1,
        "study": "test",
        "dataset": DATASET,
        "recipe": RECIPE,
        "objectives": ["accuracy", "macs"],
        "versions": {},
        "architectures": [entry | changes],
    }


DATASET: dict[str, Any] = {}
RECIPE: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _dataset_and_recipe(digits_info: Any) -> None:
    from nas.training import get_recipe

    DATASET.update(digits_info.to_dict())
    RECIPE.update(get_recipe("short-cpu", epochs=2).model_dump(mode="json"))


FRONTS: dict[str, tuple[Callable[[], Any], str]] = {
    "another cost": (lambda: front(macs=1), "macs"),
    "another id": (lambda: front(arch_id="0" * 12), "arch_id"),
    "accuracy over one": (lambda: front(accuracy=97.0), "accuracy"),
    "unknown key": (lambda: front(weights="x"), "weights"),
    "huge number": (lambda: front(params=10**400), "params"),
    "no stages": (lambda: front(arch={"stem": 8, "stages": []}), "stages"),
    "wrong stage": (lambda: front(arch={"stem": 8, "stages": [{"width": 7}]}), "stages[0]"),
    "a path for a name": (lambda: front(arch_id="../../etc/passwd"), "arch_id"),
    "another schema": (lambda: front() | {"schema_version": 99}, "schema_version"),
    "no architectures": (lambda: front() | {"architectures": []}, "architecture"),
    "a list": (lambda: [1, 2], "front.json"),
}


@pytest.mark.parametrize("name", FRONTS)
def test_front_files(run_runner: Callable[..., Any], name: str) -> None:
    make, names = FRONTS[name]
    Path("front.json").write_text(json.dumps(make()))
    assert_one_line(run_runner("retrain", "front.json"), names)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_front_files_that_are_no_json(run_runner: Callable[..., Any], text: str) -> None:
    Path("front.json").write_text(text)
    assert_one_line(run_runner("retrain", "front.json"), "front.json")


@pytest.mark.parametrize("wanted", ["none", "top:0", "top:x", "under:5", "under:soon"])
def test_selections(run_runner: Callable[..., Any], wanted: str) -> None:
    Path("front.json").write_text(json.dumps(front()))
    assert_one_line(run_runner("retrain", "front.json", "--select", wanted), "--select")


@pytest.mark.parametrize("rates", ["fast", "0.1,auto", "automatic", "-1", "0.1,,0.2"])
def test_learning_rates(run_runner: Callable[..., Any], rates: str) -> None:
    Path("front.json").write_text(json.dumps(front()))
    assert_one_line(
        run_runner("retrain", "front.json", "--learning-rate", rates), "--learning-rate"
    )


def test_a_teacher_and_a_grid_of_rates(run_runner: Callable[..., Any]) -> None:
    Path("front.json").write_text(json.dumps(front()))
    options = ("--teacher", "--learning-rate", "0.1,0.2")
    assert_one_line(run_runner("retrain", "front.json", *options), "--learning-rate")


@pytest.mark.parametrize("options", [(), ("--export", "onnx,torch")])
def test_fine_tuning_without_an_int8_file(run_runner: Callable[..., Any], options: Any) -> None:
    Path("front.json").write_text(json.dumps(front()))
    ran = run_runner("retrain", "front.json", "--fine-tune-int8", *options)
    assert_one_line(ran, "--fine-tune-int8")
    assert "accepted: with --export of int8 or tflite or c-array" in ran.err


@pytest.mark.parametrize("rest", ["hunter@127.0.0.1:1/nas", "hunt/er@127.0.0.1:1/nas", "@@h/d"])
@pytest.mark.parametrize("command", ["search", "status", "report"])
def test_no_part_of_a_password_is_shown(
    run_runner: Callable[..., Any], tmp_path: Path, command: str, rest: str
) -> None:
    arguments = {"search": SEARCH[1:], "status": (), "report": (str(tmp_path),)}[command]
    url = f"postgresql://user:secret@{rest}"
    ran = run_runner(command, *arguments, "--storage", url)
    assert ran.code == 2
    assert "%40" in ran.err
    assert not any(part in ran.err + ran.out for part in ("secret", "hunt", "er@"))
