"""Static quantisation of an ONNX file to int8, by ONNX Runtime.

Weights are symmetric int8 with a scale for each output channel, activations int8 with one scale
for a tensor, in the QDQ form: `QuantizeLinear` and `DequantizeLinear` around each operator, which
runtimes fuse into integer kernels. The range of an activation is a percentile of what calibration
images give: blocks end without an activation function, so single values lie far outside of the
others, and minimum and maximum would leave few of the 256 values to the rest (`PERCENTILE`).

Convolutions, fully connected layers, the recalibrator's sigmoid, the multiplication and the
addition of DCT and the sum with the shortcut are quantised. The normalisation of the image, one
subtraction and one division, stays in float, as pixels are; so do the global means, for which
ONNX Runtime has no quantised form.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from nas.data import Split
from nas.files import write_atomic

CALIBRATION_IMAGES = 512  # at most, spread over the training images
CALIBRATION_BATCH = 64
PERCENTILE = 99.9  # of an activation's absolute values that are within its range


def quantise(source: Path, path: Path, train: Split) -> int:
    """Write an int8 form of an ONNX file.

    Args:
        source: the float network, of images [B, C, H, W] in [0, 1] named `images`.
        path: what is written, whole or not at all.
        train: training images, for calibration.

    Returns:
        How many images it was calibrated on.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images_BCHW = spread_images(train)
    logging.getLogger().disabled, disabled = True, logging.getLogger().disabled  # ORT's advice
    try:
        with TemporaryDirectory() as folder:
            prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(quantised),
                _reader(images_BCHW),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": PERCENTILE},
            )
            model = onnx.load(quantised)
    finally:
        logging.getLogger().disabled = disabled
    strip(model)
    _share_constants(model)
    _shorten_names(model)
    onnx.checker.check_model(model)
    write_atomic(path, model.SerializeToString())
    return len(images_BCHW)


def spread_images(train: Split) -> Tensor:
    """Up to `CALIBRATION_IMAGES` images, evenly spaced in the split, as pixels in [0, 1]."""
    rows = torch.linspace(0, len(train) - 1, min(CALIBRATION_IMAGES, len(train))).long()
    return train.images[rows].float() / 255


def strip(model: Any) -> None:
    """Drop what only a reader of the exporter's log needs: it is most of a small file."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for one in model.graph.initializer:
        del one.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]


def _reader(images_BCHW: Tensor) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._start = 0

        def get_next(self) -> dict[str, Any] | None:
            batch = images_BCHW[self._start : self._start + CALIBRATION_BATCH]
            self._start += CALIBRATION_BATCH
            return {"images": batch.numpy()} if len(batch) else None

    return Reader()


def _share_constants(model: Any) -> None:
    """Store equal constants once, such as the zero points of weights."""
    first: dict[bytes, str] = {}
    shared: dict[str, str] = {}
    kept = []
    for one in model.graph.initializer:
        name = one.name
        one.name = ""
        shared[name] = first.setdefault(one.SerializeToString(), name)
        one.name = name
        if shared[name] == name:
            kept.append(one)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        node.input[:] = [shared.get(name, name) for name in node.input]


def _shorten_names(model: Any) -> None:
    """Number the tensors inside the network: their names take more room than small weights."""
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {"": ""}

    def short(name: str) -> str:
        return name if name in kept else names.setdefault(name, f"{len(names):x}")

    for one in model.graph.initializer:
        one.name = short(one.name)
    for node in model.graph.node:
        node.ClearField("name")
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
