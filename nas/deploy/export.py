"""Export of retrained networks as ONNX, `torch.export` programs and TensorFlow Lite files.

Each file is read again and checked against PyTorch. `onnx`, `onnxscript` and `onnxruntime` come
with the extra `export`, the converter to TensorFlow Lite with the extra `tflite`.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.data import Split
from nas.deploy.c_array import write_c_array
from nas.deploy.classifier import BATCH, Classifier, load_classifier
from nas.deploy.onnx_runtime import ONNX_PACKAGES, OPSET, Run, open_session, to_onnx
from nas.deploy.quantise import quantise, spread_images
from nas.deploy.tflite import quantise_tflite, run_tflite, write_tflite
from nas.files import write_atomic, write_json
from nas.models.native.fused import is_fused
from nas.threads import cpu_threads
from nas.training.full import LoadTest
from nas.training.pretrained import Description, load_pretrained, read_description

ONNX, PROGRAM, REPORT = "model.onnx", "model.pt2", "export.json"
INT8 = "model-int8.onnx"
TFLITE, INT8_TFLITE = "model.tflite", "model-int8.tflite"
PACKAGES = {  # by format: what it needs beside PyTorch, and the extra that installs it
    "onnx": (ONNX_PACKAGES, "export"),
    "torch": ((), ""),
    "int8": (ONNX_PACKAGES, "export"),
    "tflite": (("litert_torch", "ai_edge_litert", "ai_edge_quantizer"), "tflite"),
    "c-array": (ONNX_PACKAGES, "export"),
}
FORMATS = tuple(PACKAGES)
INT8_FORMATS = ("int8", "tflite", "c-array")  # with which an int8 file is written
QUANTISED = ("int8", "int8_tflite")  # forms that are not meant to agree with the float network
FINE_TUNED = "weights trained on in int8; weights_sha256 is that of the float network"
TOLERANCE = 1e-3  # largest difference of a logit, as a share of the largest logit
TEST_IMAGES = 1000  # at most
BATCHES = (1, 64)  # images per pass in the measurement of latency
ROUNDS = 9  # passes of each form

FineTune = Callable[[nn.Module], tuple[nn.Module | None, dict[str, Any]]]
"""Fine-tunes a trained network in int8; see `nas.training.fine_tune_int8`."""


def require_format(name: str) -> None:
    """Raise ValueError where the format is unknown or its packages are not installed."""
    if name not in FORMATS:
        raise ValueError(f"--export: {name[:40]!r}; accepted: {', '.join(FORMATS)}")
    packages, extra = PACKAGES[name]
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"--export {name}: needs {', '.join(missing).replace('_', '-')}, not installed; "
            f"pip install 'dyclotnet-nas[{extra}]'"
        )


def export(
    folder: Path,
    formats: tuple[str, ...],
    load_test: LoadTest,
    train: Split | None = None,
    *,
    fine_tune: FineTune | None = None,
) -> dict[str, Any]:
    """Export a retrained network into its folder, and check the written files.

    Writes `model.onnx` (format `onnx`), `model.pt2` (format `torch`), for the format `int8`
    `model-int8.onnx` beside `model.onnx`, and for the format `tflite` `model.tflite` and
    `model-int8.tflite`. All take pixels in [0, 1], [B, C, H, W], and return logits, [B, classes];
    B is any number, and 1 in TensorFlow Lite files. The format `c-array` writes the int8
    TensorFlow Lite file, where that is exported, or else the int8 ONNX file, as a C header too.
    Writes `export.json`, which compares the trained network, the folded one, the one with the
    C++ kernels, and each file as it is read again; see `compare`.

    Args:
        folder: folder of a network, as `nas.training.full` wrote it.
        formats: names from `FORMATS`.
        load_test: returns the test set, at the size of the training images.
        train: training images, which int8 is calibrated on.
        fine_tune: where it returns a network, all int8 files are made of that one, and have its
            weights; the float files stay those of the trained network.

    Returns:
        The contents of `export.json`; `int8` and `int8_tflite`, of an int8 file, have its accuracy
        and that of the float one on the whole test set, and the bytes of both files;
        `fine_tuning` is what `fine_tune` measured.

    Raises:
        ValueError: the folder is damaged, a format is unknown, or a package is missing.
        RuntimeError: an exported network differs by more than `TOLERANCE`.
    """
    for name in formats:
        require_format(name)
    description = read_description(folder)
    trained = load_pretrained(folder)
    plain = Classifier(trained, description.dataset_info())
    runs = {"trained": _pytorch(plain, trained), "folded": _pytorch(plain, plain.network)}
    fast = load_classifier(folder)
    if is_fused(fast):
        runs["kernels"] = _pytorch(fast, fast.network)
    program = _export_program(plain.to(memory_format=torch.contiguous_format))
    if "torch" in formats:
        runs["torch"] = _write_program(program, folder / PROGRAM)
    int8 = "int8" in formats or ("c-array" in formats and "tflite" not in formats)
    if int8 or "onnx" in formats:
        runs["onnx"] = _write_onnx(program, description, folder / ONNX)
    report: dict[str, Any] = {"opset": OPSET, "versions": _versions()}
    tuned: Classifier | None = None
    if fine_tune is not None:
        network, report["fine_tuning"] = fine_tune(trained)
        tuned = None if network is None else Classifier(network, plain.info)
    test = load_test()
    if int8:
        runs["int8"], report["int8"] = _export_int8(
            folder, description, tuned, runs["onnx"], train, test
        )
    if "tflite" in formats:
        files, report["int8_tflite"] = _export_tflite(folder, plain, tuned, train, test)
        runs |= files
    if "c-array" in formats:
        source = folder / (INT8_TFLITE if "tflite" in formats else INT8)
        write_c_array(source, folder / f"{source.name}.h")
    report |= compare(runs, test)
    for name in QUANTISED:
        report["largest_difference"].pop(name, None)
    write_json(folder / REPORT, report)
    for name, difference in report["largest_difference"].items():
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"{folder}: {name} differs from the trained network by {difference:.1e} of the "
                f"largest logit; accepted: {TOLERANCE:.0e}"
            )
    return report


@torch.inference_mode()
def compare(runs: dict[str, Run], test: Split) -> dict[str, Any]:
    """Compare logits, accuracy and latency of several forms of a network.

    Latencies are measured on one thread by the thread's own clock. The forms run in turns, so
    that other load on the machine slows all of them alike.

    Args:
        runs: by name, the forms; the first one is the reference.
        test: the test set.

    Returns:
        `images`, the number of test images, and for each form: `largest_difference`, the
        largest difference of a logit from the reference, as a share of the reference's largest
        logit; `accuracy`; `seconds`, the median time of one pass by number of images.
    """
    images_BCHW = test.images[:TEST_IMAGES].float() / 255
    labels_B = test.labels[:TEST_IMAGES]
    with cpu_threads(1):
        logits = {name: run(images_BCHW) for name, run in runs.items()}
        seconds = {name: {str(b): s[b] for b in BATCHES} for name, s in _time(runs, images_BCHW)}
    reference = next(iter(logits.values()))
    largest = reference.abs().max()
    return {
        "images": len(labels_B),
        "largest_difference": {
            name: float((one - reference).abs().max() / largest) for name, one in logits.items()
        },
        "accuracy": {
            name: int((one.argmax(1) == labels_B).sum()) / len(labels_B)
            for name, one in logits.items()
        },
        "threads": 1,
        "seconds": seconds,
    }


def _pytorch(classifier: Classifier, network: nn.Module) -> Run:
    """Runs the network in channels-last memory, with the classifier's normalisation."""
    mean, std = classifier.mean, classifier.std
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)

    def run(images_BCHW: Tensor) -> Tensor:
        x_BCHW = images_BCHW.to(memory_format=torch.channels_last)
        logits_BK: Tensor = network((x_BCHW - mean) / std)
        return logits_BK

    return run


def _export_int8(
    folder: Path,
    description: Description,
    tuned: Classifier | None,
    float_file: Run,
    train: Split | None,
    test: Split,
) -> tuple[Run, dict[str, Any]]:
    """Write the int8 ONNX file.

    Args:
        folder: folder of the network, which holds the float file.
        description: of the network.
        tuned: the network as it was fine-tuned in int8; None: the float file is quantised.
        float_file: the float file as it is read again.
        train: images for calibration.
        test: images to compare both files on.

    Returns:
        The int8 file as it is read again, and its comparison with the float file.
    """
    images_BCHW = _calibration_images(train)
    with TemporaryDirectory() as temporary:
        source = folder / ONNX
        if tuned is not None:
            source = Path(temporary) / ONNX
            program = _export_program(tuned.to(memory_format=torch.contiguous_format))
            _write_onnx(program, description, source, FINE_TUNED)
        quantise(source, folder / INT8, images_BCHW)
    run = open_session(folder / INT8)
    compared = _compare_int8(folder, (ONNX, INT8), (float_file, run), test)
    return run, compared | {"calibration_images": len(images_BCHW)}


def _export_tflite(
    folder: Path, plain: Classifier, tuned: Classifier | None, train: Split | None, test: Split
) -> tuple[dict[str, Run], dict[str, Any]]:
    """Write the float and the int8 TensorFlow Lite file; arguments as of `_export_int8`.

    Returns:
        Both files as they are read again, by name, and their comparison.
    """
    images_BCHW = _calibration_images(train)
    write_tflite(plain, images_BCHW[:1], folder / TFLITE)
    with TemporaryDirectory() as temporary:
        source = folder / TFLITE
        if tuned is not None:
            source = Path(temporary) / TFLITE
            write_tflite(tuned, images_BCHW[:1], source)
        quantise_tflite(source, folder / INT8_TFLITE, images_BCHW)
    runs = {"tflite": run_tflite(folder / TFLITE), "int8_tflite": run_tflite(folder / INT8_TFLITE)}
    files = (TFLITE, INT8_TFLITE)
    compared = _compare_int8(folder, files, (runs["tflite"], runs["int8_tflite"]), test)
    return runs, compared | {"calibration_images": len(images_BCHW)}


def _export_program(classifier: Classifier) -> torch.export.ExportedProgram:
    info = classifier.info
    # Two images: a batch of one would become a constant of the program.
    images = torch.rand(2, info.in_channels, info.image_size, info.image_size)
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    return torch.export.export(classifier, (images,), dynamic_shapes=shapes)


def _write_program(program: torch.export.ExportedProgram, path: Path) -> Run:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(path, buffer.getvalue())
    module: Any = torch.export.load(path).module()
    return cast(Run, module)


def _write_onnx(
    program: torch.export.ExportedProgram,
    description: Description,
    path: Path,
    fine_tuning: str | None = None,
) -> Run:
    import onnx

    model = to_onnx(program)
    info = description.dataset_info()
    side = info.image_size
    metadata = {
        "class_names": json.dumps(list(info.class_names)),
        "input": f"pixels in [0, 1], [batch, {info.in_channels}, {side}, {side}]; "
        "the normalisation is in the network",
        "description": description.model_dump_json(),
        **({} if fine_tuning is None else {"fine_tuning": fine_tuning}),
    }
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    write_atomic(path, model.SerializeToString())
    return open_session(path)


def _calibration_images(train: Split | None) -> Tensor:
    if train is None:
        raise ValueError("train: none; accepted: training images, to calibrate int8 on")
    return spread_images(train)


@torch.inference_mode()
def _compare_int8(
    folder: Path, files: tuple[str, str], runs: tuple[Run, Run], test: Split
) -> dict[str, Any]:
    """Compare a float and an int8 file, in this order, on the whole test set."""
    correct = [0, 0]
    for start in range(0, len(test), BATCH):
        part = slice(start, start + BATCH)
        images_BCHW = test.images[part].float() / 255
        for index, run in enumerate(runs):
            correct[index] += int((run(images_BCHW).argmax(1) == test.labels[part]).sum())
    return {
        "float_accuracy": correct[0] / len(test),
        "accuracy": correct[1] / len(test),
        "test_images": len(test),
        "float_bytes": (folder / files[0]).stat().st_size,
        "bytes": (folder / files[1]).stat().st_size,
    }


def _time(runs: dict[str, Run], images_BCHW: Tensor) -> Iterator[tuple[str, dict[int, float]]]:
    seconds: dict[str, dict[int, list[float]]] = {name: {b: [] for b in BATCHES} for name in runs}
    for batch in BATCHES:
        chosen_BCHW = images_BCHW[:batch].clone()
        for turn in range(ROUNDS + 1):
            for name, run in runs.items():
                start = thread_time()
                run(chosen_BCHW)
                if turn:  # the first pass warms up
                    seconds[name][batch].append(thread_time() - start)
    for name, by_batch in seconds.items():
        yield name, {batch: median(values) for batch, values in by_batch.items()}


def _versions() -> dict[str, str]:
    versions = {}
    for package in ("torch", *ONNX_PACKAGES, "litert-torch"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
