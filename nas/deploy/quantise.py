"""Static quantisation of an ONNX file to int8, by ONNX Runtime, in the QDQ form.

QDQ: `QuantizeLinear` and `DequantizeLinear` stand around each operator, and runtimes fuse them
into integer kernels. All operators are standard ONNX.

- Weights are symmetric int8: convolutions have a scale for each output channel, fully connected
  layers one scale, as in TensorFlow Lite's specification of int8.
- Biases stay float32, which takes no more room than int32 and needs no scale: the runtime rounds
  them to int32 when it fuses the operator.
- Activations have 8 bits without a sign and one scale for a tensor. ONNX Runtime's kernels for
  x86-64 multiply unsigned activations by signed weights; with signed activations it leaves part
  of the operators in float, which took 1.7 to 2.2 times as long (a network of 28,666 parameters).
  On processors without VNNI instructions those kernels add two products in 16 bits, which may
  saturate.
- The range of an activation is a percentile of what calibration images give: blocks end without
  an activation function, so single values lie far outside of the others, and minimum and maximum
  would leave few of the 256 values to the rest (`nas.models.fake_quantise.PERCENTILE`).

Convolutions, fully connected layers, the recalibrator's sigmoid, the multiplication and the
addition of DCT and the sum with the shortcut are quantised. The normalisation of the image, one
subtraction and one division, stays in float, as pixels are; so do the global means, for which
ONNX Runtime has no quantised form. `nas.models.fake_quantise` computes the same in PyTorch.
"""

from __future__ import annotations

import json
import logging
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.data import Split
from nas.deploy.onnx_size import drop_defaults, share_constants, shorten_names, strip
from nas.files import write_atomic
from nas.models.fake_quantise import activation_range, calibration_images

IDENTITY = ("arch_id", "reference", "weights_sha256")  # of a description, kept in the file


def quantise(source: Path, path: Path, images_BCHW: Tensor) -> None:
    """Write an int8 form of an ONNX file.

    Args:
        source: the float network, of images [B, C, H, W] in [0, 1] named `images`.
        path: what is written, whole or not at all.
        images_BCHW: images that ranges are calibrated on.
    """
    import onnx

    model = quantise_model(onnx.load(source), images_BCHW)
    _keep_metadata(model)
    onnx.checker.check_model(model)
    write_atomic(path, model.SerializeToString())


def quantise_model(model: Any, images_BCHW: Tensor) -> Any:
    """The int8 form of an ONNX model, a `ModelProto`; see `quantise`."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().disabled, disabled = True, logging.getLogger().disabled  # ORT's advice
    try:
        with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            source, prepared, quantised = (
                str(Path(folder) / f"{name}.onnx") for name in ("float", "prepared", "int8")
            )
            onnx.save(model, source)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                quantised,
                _reader(images_BCHW[:1]),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,  # of one image; `_ranges` decides
                extra_options={
                    "QuantizeBias": False,
                    "TensorQuantOverrides": _ranges(prepared, images_BCHW)
                    | {
                        node.input[1]: [{"quant_type": QuantType.QInt8, "symmetric": True}]
                        for node in onnx.load(prepared).graph.node
                        if node.op_type == "Gemm"
                    },
                },
            )
            model = onnx.load(quantised)
    finally:
        logging.getLogger().disabled = disabled
    strip(model)
    drop_defaults(model)
    _drop_zero_points(model)
    share_constants(model)
    _reshape_integers(model)
    shorten_names(model)
    return model


def spread_images(train: Split) -> Tensor:
    """The images that ranges are calibrated on, as pixels in [0, 1]."""
    return calibration_images(train).images.float() / 255


def _ranges(path: str, images_BCHW: Tensor) -> dict[str, list[dict[str, Any]]]:
    """The range of each activation of a float file, for ONNX Runtime's quantisation.

    ONNX Runtime's own percentile fails where the values of a tensor hardly differ, as those of a
    recalibrator do that has learned to give a constant.
    """
    import onnx
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    outputs = {value.name for value in model.graph.output}
    inner = [
        value
        for value in model.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in outputs
    ]
    model.graph.output.extend(inner)
    names = [value.name for value in model.graph.output]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    computed = session.run(names, {"images": images_BCHW.numpy()})
    ranges = {}
    for name, values in zip(names, computed, strict=True):
        low, high = map(np.float32, activation_range(torch.from_numpy(values)))
        ranges[name] = [{"rmin": low, "rmax": high}]
    return ranges


def _reader(images_BCHW: Tensor) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter([{"images": images_BCHW.numpy()}])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._batches, None)

    return Reader()


def _drop_zero_points(model: Any) -> None:
    """Drop the zero points of convolutions' weights, a vector of zeros: an absent one is zero.

    A scalar one stays: without it ONNX Runtime does not fuse a fully connected layer.
    """
    import onnx

    constants = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            zero_point = constants[node.input[2]]
            if zero_point.dims and not onnx.numpy_helper.to_array(zero_point).any():
                del node.input[2:]
    used = {name for node in model.graph.node for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _reshape_integers(model: Any) -> None:
    """Reshape quantised tensors as they are, without a pair of conversions around it."""
    nodes = list(model.graph.node)
    made = {name: node for node in nodes for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    dropped: set[str] = set()  # by the name of what a node makes
    for node in nodes:
        before, after = made.get(node.input[0]), readers.get(node.output[0], [])
        if node.op_type not in ("Reshape", "Unsqueeze") or before is None or len(after) != 1:
            continue
        if (before.op_type, after[0].op_type) != ("DequantizeLinear", "QuantizeLinear"):
            continue
        if before.input[1:] != after[0].input[1:]:  # another scale
            continue
        dropped.add(after[0].output[0])
        if len(readers[before.output[0]]) == 1:
            dropped.add(before.output[0])
        node.input[0], node.output[0] = before.input[0], after[0].output[0]
        made[node.output[0]] = node
    kept = [n for n in nodes if n.output[0] not in dropped or n.op_type in ("Reshape", "Unsqueeze")]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _keep_metadata(model: Any) -> None:
    """Keep the classes, the input and fine-tuning; of the description, what identifies."""
    kept = {entry.key: entry.value for entry in model.metadata_props}
    described = json.loads(kept.pop("description"))
    kept["description"] = json.dumps({name: described[name] for name in IDENTITY})
    del model.metadata_props[:]
    for key in ("class_names", "input", "description", "fine_tuning"):
        if key in kept:
            entry = model.metadata_props.add()
            entry.key, entry.value = key, kept[key]
