"""Fake quantisation in PyTorch against the int8 file that ONNX Runtime makes and runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.data import Batches, Split, load_search_data, load_test_data
from nas.deploy.export import export
from nas.models.fake_quantise import calibration_images, fake_quantise
from nas.training.pretrained import load_pretrained

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NOWHERE = Path("unused")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Compared:
    """Logits [N, K] of the same trained network on the same images."""

    fake: Tensor
    plain: Tensor  # of the int8 file, each operator by itself, in float between roundings
    runtime: Tensor  # as the file is run: in integers
    as_float: Tensor
    labels: Tensor
    step: float  # distance of two logits that int8 can express

    def accuracy(self, logits: Tensor) -> float:
        return float((logits.argmax(1) == self.labels).double().mean())


@pytest.fixture(scope="module")
def compared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("exported") / "net"
    shutil.copytree(trained, folder)
    data, test = load_search_data("digits", NOWHERE), load_test_data("digits", NOWHERE)
    export(folder, ("int8",), lambda: test, data.train)

    def run(name: str, *, optimised: bool) -> Tensor:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        if not optimised:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(folder / name, options)
        return torch.from_numpy(session.run(None, {"images": (test.images / 255).numpy()})[0])

    def normalised(split: Split) -> Tensor:
        [(images_BCHW, _)] = Batches(split, data.info, len(split), CPU)
        return images_BCHW

    quantised = fake_quantise(load_pretrained(folder), normalised(calibration_images(data.train)))
    with torch.inference_mode():
        fake = quantised(normalised(test))
    return Compared(
        fake,
        run("model-int8.onnx", optimised=False),
        run("model-int8.onnx", optimised=True),
        run("model.onnx", optimised=True),
        test.labels,
        float(fake.unique().diff().min()),
    )


def test_it_equals_the_operators_of_the_file(compared: Compared) -> None:
    """Up to zero points that lie between two integers, which rounding noise decides."""
    difference = (compared.fake - compared.plain).abs()
    assert float(difference.mean()) < 0.1 * compared.step
    assert float(difference.quantile(0.99)) < 1.01 * compared.step


def test_it_agrees_with_integer_kernels_better_than_float_does(compared: Compared) -> None:
    fake, as_float = (
        float((one - compared.runtime).abs().mean()) for one in (compared.fake, compared.as_float)
    )
    assert fake < 0.5 * compared.step
    assert fake < 0.5 * as_float


def test_predictions_agree(compared: Compared) -> None:
    same = (compared.fake.argmax(1) == compared.runtime.argmax(1)).double().mean()
    assert float(same) > 0.98
    accuracies = [compared.accuracy(one) for one in (compared.fake, compared.runtime)]
    assert len(compared.labels) * np.ptp(accuracies) < 2.5  # images
