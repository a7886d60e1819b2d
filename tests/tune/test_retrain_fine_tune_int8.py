"""`nas retrain --fine-tune-int8`: shown while it runs and at the end, here and on workers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cross_layer_scales import rescale_folder
from digits_front import NOWHERE, write_digits_front

from nas.cli.retrain_view import show_retrained
from nas.progress import training_bars
from nas.space.arch import Arch
from nas.training import get_recipe
from nas.tune.resources import this_machine
from nas.tune.retrain import Retrained, retrain_front
from nas.tune.retrain_request import RetrainRequest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

RECIPE = get_recipe("full", epochs=12, batch_size=32)


def retrained(request: RetrainRequest) -> Retrained:
    return retrain_front(request, this_machine, partial(training_bars, False))


def test_it_is_said_and_shown(
    tiny_arch: Arch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)  # which Rich takes for a terminal
    front = write_digits_front(tmp_path, [tiny_arch], [0.9], RECIPE)
    request = RetrainRequest(
        front=front, select="all", recipe=RECIPE, learning_rates=(), seeds=1, references=(),
        export=("int8",), concurrency=1, threads=1, data_dir=NOWHERE, fine_tune_int8=True,
    )  # fmt: skip
    first = retrained(request)
    show_retrained(first)
    shown = capfd.readouterr()
    assert "int8 fine-tuning: epoch" not in shown.err
    assert "int8 fine-tuning: not needed" in " ".join(shown.out.split())
    rescale_folder(tmp_path / "retrained" / tiny_arch.arch_id)
    here = retrained(request)
    show_retrained(here)
    shown = capfd.readouterr()
    assert "int8 fine-tuning: epoch 1/1, loss " in shown.err
    assert "the int8 file has weights of its own" in " ".join(shown.out.split())
    under_ray = retrained(replace(request, concurrency=2, seeds=2))
    shown = capfd.readouterr()
    assert "seed 0: int8 fine-tuning: epoch 1/1, loss " in shown.err
    one, other = (done.metrics[0]["export"]["fine_tuning"] for done in (here, under_ray))
    assert one | {"seconds": 0} == other | {"seconds": 0}


def test_an_int8_file_must_be_exported(tiny_arch: Arch, tmp_path: Path) -> None:
    front = write_digits_front(tmp_path, [tiny_arch], [0.9], RECIPE)
    request = RetrainRequest(
        front=front, select="all", recipe=RECIPE, learning_rates=(), seeds=1, references=(),
        export=("onnx", "torch"), concurrency=1, threads=1, data_dir=NOWHERE, fine_tune_int8=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"^--fine-tune-int8: no int8 file .* int8 or tflite or"):
        retrained(request)
    assert [path.name for path in tmp_path.iterdir()] == ["front.json"]
