"""TensorFlow Lite files of a network, by litert-torch, which comes with the extra `tflite`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from nas.files import write_atomic


def write_tflite(network: nn.Module, image_BCHW: Tensor, path: Path) -> None:
    """Convert a network to a float TensorFlow Lite file, for a batch of one image.

    Args:
        network: folded, in evaluation mode.
        image_BCHW: an image [1, C, H, W], for the shape.
        path: what is written, whole or not at all.
    """
    import litert_torch

    with TemporaryDirectory() as folder, _quiet():
        made = Path(folder) / "model.tflite"
        litert_torch.convert(network, (image_BCHW,)).export(str(made))
        write_atomic(path, made.read_bytes())


def quantise_tflite(source: Path, path: Path, images_BCHW: Tensor) -> None:
    """Write a static int8 form of a float file: weights per channel, int8 inputs and outputs.

    Args:
        source: as `write_tflite` wrote it.
        path: what is written, whole or not at all.
        images_BCHW: images that ranges are calibrated on.
    """
    from ai_edge_quantizer import quantizer, recipe

    with TemporaryDirectory() as folder, _quiet():
        made = Path(folder) / "model.tflite"
        work = quantizer.Quantizer(str(source))
        work.load_quantization_recipe(recipe.static_wi8_ai8())
        signature, name = _signature(_interpreter(source))
        samples = [{name: image_CHW[None].numpy()} for image_CHW in images_BCHW]
        ranges = work.calibrate({signature: samples})
        work.quantize(ranges).export_model(str(made), overwrite=True)
        write_atomic(path, made.read_bytes())


def run_tflite(path: Path) -> Any:
    """A function of images [B, C, H, W] to logits [B, K] that runs the file image by image.

    Integers are scaled by what the file says of its input and output.
    """
    interpreter = _interpreter(path)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images_BCHW: Tensor) -> Tensor:
        rows = []
        for image_CHW in images_BCHW:
            x = image_CHW[None].numpy()
            scale, zero_point = given["quantization"]
            if scale:
                x = (x / scale + zero_point).round().clip(-128, 127)
            interpreter.set_tensor(given["index"], x.astype(given["dtype"]))
            interpreter.invoke()
            y = torch.from_numpy(interpreter.get_tensor(made["index"]).copy()).float()
            scale, zero_point = made["quantization"]
            rows.append((y - zero_point) * scale if scale else y)
        return torch.cat(rows)

    return run


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path), num_threads=1)


def _signature(interpreter: Any) -> tuple[str, str]:
    ((signature, names),) = interpreter.get_signature_list().items()
    return signature, names["inputs"][0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's log, whose lines are on both streams."""
    disabled = logging.getLogger().disabled
    logging.getLogger().disabled = True
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.getLogger().disabled = disabled
