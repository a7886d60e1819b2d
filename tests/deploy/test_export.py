"""Exported networks: the same logits as PyTorch, from files that need nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data import Batches, load_search_data, load_test_data
from nas.deploy.export import OPSET, TOLERANCE, export, require_format
from nas.deploy.onnx_runtime import open_session
from nas.deploy.quantise import quantise
from nas.deploy.tflite import _interpreter
from nas.space.arch import Arch
from nas.training.pretrained import load_pretrained, read_description

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

NOWHERE = Path("unused")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "net"
    shutil.copytree(trained, folder)
    export(folder, ("onnx", "torch"), lambda: load_test_data("digits", NOWHERE))
    return folder


def test_every_form_agrees_on_the_test_set(exported: Path) -> None:
    report = json.loads((exported / "export.json").read_text())
    assert report["images"] == 360
    assert {"trained", "folded", "torch", "onnx"} <= set(report["accuracy"])
    assert report["accuracy"]["trained"] > 0.5
    assert len(set(report["accuracy"].values())) == 1
    for form in ("folded", "kernels"):
        assert report["largest_difference"].get(form, 0) < 1e-4
    assert max(report["largest_difference"].values()) < TOLERANCE
    assert all(set(of) == {"1", "64"} for of in report["seconds"].values())


def test_int8_is_smaller_runs_in_integers_and_is_as_accurate(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(trained, folder)
    train = load_search_data("digits", NOWHERE).train
    report = export(folder, ("int8",), lambda: load_test_data("digits", NOWHERE), train)
    stored = report["int8"]
    assert stored["test_images"] == 360
    assert stored["calibration_images"] == 512
    assert stored["float_accuracy"] == report["accuracy"]["trained"]
    assert abs(stored["accuracy"] - stored["float_accuracy"]) < 0.02
    assert "int8" not in report["largest_difference"]
    assert set(report["seconds"]["int8"]) == {"1", "64"}
    path = folder / "model-int8.onnx"
    assert path.stat().st_size == stored["bytes"]
    model = onnx.load(path)
    made = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(convolutions) == 13
    for node in convolutions:  # activations and weights; a runtime rounds the bias to int32
        assert {made[name].op_type for name in node.input[:2]} == {"DequantizeLinear"}
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    optimised = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert {"QLinearConv", "QGemm", "QLinearMul", "QLinearAdd", "QLinearSigmoid"} <= optimised
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm", "Mul", "Add", "Sigmoid"} & optimised
    kinds = Counter(one.data_type for one in model.graph.initializer for _ in range(prod(one.dims)))
    assert kinds[onnx.TensorProto.INT8] > kinds[onnx.TensorProto.FLOAT]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == list("0123456789")
    session = onnxruntime.InferenceSession(path)
    for count in (1, 5):
        (logits,) = session.run(None, {"images": np.zeros((count, 1, 8, 8), np.float32)})
        assert logits.shape == (count, 10)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_the_onnx_file_alone_gives_the_logits_of_real_images(exported: Path, count: int) -> None:
    test = load_test_data("digits", NOWHERE)
    info = read_description(exported).dataset_info()
    normalised, _ = next(iter(Batches(test, info, count, torch.device("cpu"))))
    with torch.inference_mode():
        expected = load_pretrained(exported)(normalised).numpy()
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    pixels = (test.images[:count].float() / 255).numpy()
    (logits,) = session.run(None, {"images": pixels})
    assert logits.shape == (count, 10)
    assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max()


def test_the_onnx_file_says_what_it_is(exported: Path, small_arch: Arch) -> None:
    model = onnx.load(exported / "model.onnx")
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == list("0123456789")
    described = json.loads(metadata["description"])
    assert described["arch_id"] == small_arch.arch_id
    assert described["weights_sha256"] == read_description(exported).weights_sha256


def test_the_program_runs_without_this_project(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / "model.pt2", tmp_path / "model.pt2")
    code = (
        "import sys, torch\n"
        "program = torch.export.load('model.pt2').module()\n"
        "print([tuple(program(torch.rand(n, 1, 8, 8)).shape) for n in (1, 5)])\n"
        "assert 'nas' not in sys.modules\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ran.stdout.strip() == "[(1, 10), (5, 10)]", ran.stderr


def test_int8_is_calibrated_on_any_number_of_images_and_prints_nothing(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "net"
    shutil.copytree(trained, folder)
    train = load_search_data("digits", NOWHERE).train.take(np.arange(100))
    stored = export(folder, ("int8",), lambda: load_test_data("digits", NOWHERE), train)["int8"]
    assert stored["calibration_images"] == 100
    assert abs(stored["accuracy"] - stored["float_accuracy"]) < 0.03
    assert capfd.readouterr().out == ""


def test_int8_of_a_recalibrator_that_gives_a_constant(exported: Path, tmp_path: Path) -> None:
    """Its activations hardly differ between images."""
    model = onnx.load(exported / "model.onnx")
    changed = 0
    for one in model.graph.initializer:
        values = onnx.numpy_helper.to_array(one)
        if one.name.endswith(("reduce.weight", "reduce.bias")):
            values = np.float32(1e-6) * values if values.ndim == 2 else np.ones_like(values)
            one.CopyFrom(onnx.numpy_helper.from_array(values, one.name))
            changed += 1
    assert changed == 4
    onnx.save(model, tmp_path / "float.onnx")
    images = load_search_data("digits", NOWHERE).train.images[:200].float() / 255
    quantise(tmp_path / "float.onnx", tmp_path / "int8.onnx", images)
    as_float, in_int8 = (
        open_session(tmp_path / f"{name}.onnx")(images) for name in ("float", "int8")
    )
    assert float((in_int8 - as_float).norm() / as_float.norm()) < 0.2


def test_the_c_array_holds_the_bytes_of_the_int8_file(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(trained, folder)
    train = load_search_data("digits", NOWHERE).train
    export(folder, ("c-array",), lambda: load_test_data("digits", NOWHERE), train)
    header = folder / "model-int8.onnx.h"
    program = tmp_path / "print.c"
    program.write_text(
        f'#include <stdio.h>\n#include "{header}"\n'
        "int main(void) { return "
        "fwrite(model_int8_onnx, 1, model_int8_onnx_len, stdout) != model_int8_onnx_len; }\n"
    )
    subprocess.run(["cc", "-Wall", "-Werror", program, "-o", tmp_path / "print"], check=True)
    ran = subprocess.run([tmp_path / "print"], check=True, capture_output=True)
    assert ran.stdout == (folder / "model-int8.onnx").read_bytes()


def test_tensorflow_lite_files_agree(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    folder = tmp_path / "net"
    shutil.copytree(trained, folder)
    train = load_search_data("digits", NOWHERE).train
    report = export(folder, ("tflite",), lambda: load_test_data("digits", NOWHERE), train)
    assert report["largest_difference"]["tflite"] < TOLERANCE
    stored = report["int8_tflite"]
    assert stored["float_accuracy"] == report["accuracy"]["trained"]
    assert abs(stored["accuracy"] - stored["float_accuracy"]) < 0.03
    assert stored["bytes"] == (folder / "model-int8.tflite").stat().st_size
    interpreter = _interpreter(folder / "model-int8.tflite")
    for (tensor,) in (interpreter.get_input_details(), interpreter.get_output_details()):
        assert tensor["dtype"] is np.int8


@pytest.mark.skipif(find_spec("litert_torch") is not None, reason="litert-torch is installed")
def test_a_missing_converter_is_one_line() -> None:
    needs = "--export tflite: needs litert-torch, ai-edge-litert, ai-edge-quantizer, not installed"
    with pytest.raises(ValueError, match=needs) as e:
        require_format("tflite")
    assert "\n" not in str(e.value)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="--export: 'coreml'; accepted: onnx, torch, int8"):
        require_format("coreml")
