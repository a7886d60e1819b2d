"""int8 files of a fine-tuned network, as ONNX Runtime runs them."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cross_layer_scales import rescale_folder

from nas.data import SearchData, Split, load_search_data, load_test_data
from nas.deploy.export import FineTune, export
from nas.training import get_recipe
from nas.training.fine_tune_int8 import fine_tune_int8
from nas.training.pretrained import WEIGHTS, read_description

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NOWHERE = Path("unused")
DATA = load_search_data("digits", NOWHERE)
TEST = load_test_data("digits", NOWHERE)
FILES = ("model.onnx", "model-int8.onnx")


def fine_tune(data: SearchData, **more: Any) -> FineTune:
    recipe = get_recipe("full", epochs=20, batch_size=50)
    how = {"recipe": recipe, "seed": 0, "device": torch.device("cpu"), "threads": 1}
    return partial(fine_tune_int8, data=data, **how, **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, trained: Path) -> Path:
    """A network whose channels differ in scale."""
    copied = tmp_path / "net"
    shutil.copytree(trained, copied)
    rescale_folder(copied)
    return copied


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_it_raises_the_accuracy_of_the_int8_file_alone(folder: Path) -> None:
    weights = (folder / WEIGHTS).read_bytes()
    before = export(folder, ("int8",), lambda: TEST, DATA.train)
    static = contents(folder)
    assert "fine_tuning" not in before
    assert before["int8"]["accuracy"] < before["int8"]["float_accuracy"] - 0.02
    after = export(folder, ("int8",), lambda: TEST, DATA.train, fine_tune=fine_tune(DATA))
    tuned = contents(folder)
    assert after["fine_tuning"]["kept"]
    assert after["int8"]["accuracy"] > before["int8"]["accuracy"] + 0.02
    assert after["int8"]["float_accuracy"] == before["int8"]["float_accuracy"]
    assert json.loads((folder / "export.json").read_text())["fine_tuning"] == after["fine_tuning"]
    assert tuned[0] == static[0]
    assert (folder / WEIGHTS).read_bytes() == weights
    int8, sha = metadata(folder / FILES[1]), read_description(folder).weights_sha256
    assert json.loads(int8["description"])["weights_sha256"] == sha
    assert "trained on in int8" in int8["fine_tuning"]
    assert "fine_tuning" not in metadata(folder / FILES[0])


def test_no_decision_uses_test_images(folder: Path) -> None:
    wrong = Split(TEST.images.flip(3), (TEST.labels + 1) % 10)
    reports, files = [], []
    for test in (TEST, wrong):
        report = export(folder, ("int8",), lambda t=test: t, DATA.train, fine_tune=fine_tune(DATA))  # type: ignore[misc]
        reports.append(report)
        files.append(contents(folder))
    assert files[0] == files[1]
    first, second = (report["fine_tuning"] | {"seconds": 0} for report in reports)
    assert first == second
    assert reports[1]["int8"]["accuracy"] < 0.3 < reports[0]["int8"]["accuracy"]


def test_a_network_that_loses_less_is_quantised_as_it_is(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(trained, folder)
    export(folder, ("int8",), lambda: TEST, DATA.train)
    static = contents(folder)
    report = export(folder, ("int8",), lambda: TEST, DATA.train, fine_tune=fine_tune(DATA))
    assert report["fine_tuning"]["epochs"] == 0
    assert contents(folder) == static


def test_an_interruption_loses_the_fine_tuning_alone(folder: Path) -> None:
    export(folder, ("int8",), lambda: TEST, DATA.train)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(
            *(folder, ("int8",), lambda: TEST, DATA.train),
            fine_tune=fine_tune(DATA, progress=interrupt),
        )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    again = export(folder, ("int8",), lambda: TEST, DATA.train, fine_tune=fine_tune(DATA))
    assert again["fine_tuning"]["kept"]
    assert contents(folder)[1] != files["model-int8.onnx"]


def test_both_int8_files_have_the_fine_tuned_weights(folder: Path) -> None:
    pytest.importorskip("litert_torch")
    before = export(folder, ("tflite",), lambda: TEST, DATA.train)
    plain = (folder / "model.tflite").read_bytes()
    after = export(folder, ("tflite",), lambda: TEST, DATA.train, fine_tune=fine_tune(DATA))
    assert after["fine_tuning"]["kept"]
    assert after["int8_tflite"]["accuracy"] > before["int8_tflite"]["accuracy"] + 0.02
    assert (folder / "model.tflite").read_bytes() == plain
