"""Networks as ONNX models, and ONNX Runtime, which runs them.

`onnx`, `onnxscript` and `onnxruntime` come with the extra `export`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.deploy.onnx_size import drop_defaults, strip

OPSET = 20  # ONNX operator set, which ONNX Runtime reads since version 1.17
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], Tensor]


def to_onnx(program: torch.export.ExportedProgram) -> Any:
    """The ONNX model, a `ModelProto`, of a program from `images` to `logits`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to the exporter's authors
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    strip(model)
    drop_defaults(model)
    return model


def open_session(model: Path | bytes, threads: int = 1) -> Run:
    """A function that runs a model, a file or its bytes, with ONNX Runtime on the CPU.

    Args:
        model: from `images` [B, C, H, W] to `logits` [B, K].
        threads: CPU threads; they wait without spinning, so that measurements do not disturb
            each other.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(images_BCHW: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images_BCHW.numpy()})[0])

    return run
