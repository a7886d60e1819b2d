"""Memory by formula against a simulation of exported graphs, operator by operator."""

from __future__ import annotations

import logging
import random
import time
from math import prod
from pathlib import Path

import pytest
import torch

from nas.data import DatasetInfo
from nas.deploy.classifier import Classifier
from nas.models import DyClotNet
from nas.space.arch import Arch, StageArch, make_stage
from nas.space.cost import cost
from nas.space.memory import layer_peaks, operators, peak_memory, weight_bytes
from nas.space.space import SearchSpace

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "search_spaces" / "dyclotnet.yaml")
SHAPES_ONLY = ("Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity")  # no tensor is written
IN_PLACE = (*SHAPES_ONLY, "Relu")


def random_arch(rng: random.Random) -> Arch:
    """Small, since an export takes seconds; stages may keep or change width and resolution."""
    stages = tuple(
        make_stage(
            rng.choice([4, 8, 12, 16]), rng.choice([0.5, 1, 2]), rng.choice([1, 1, 2]),
            rng.choice([1, 2]), rng.choice(["dct", "pointwise"]), rng.choice([1, 2, 4]),
            rng.choice([1, 2, 4]),
        )
        for _ in range(rng.choice([1, 2, 3]))
    )  # fmt: skip
    return Arch(rng.choice([2, 8, 16, stages[0].width]), stages)


def exported(arch: Arch, size: int, channels: int, classes: int) -> tuple[onnx.ModelProto, int]:
    """The ONNX graph of the folded network for one image, and its tensors' int8 bytes."""
    names = tuple(f"{k}" for k in range(classes))
    mean, std = (0.5,) * channels, (0.2,) * channels
    info = DatasetInfo("random", size, channels, names, 0, False, mean, std, "0")
    network = DyClotNet(arch, channels, classes)
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # zeros would be left out of the graph
            torch.nn.init.normal_(norm.running_mean)
    classifier = Classifier(network, info)
    stored = classifier.network.state_dict()
    flash = sum(t.numel() * (4 if name.endswith("bias") else 1) for name, t in stored.items())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.export.export(classifier, (torch.rand(1, channels, size, size),))
    model = torch.onnx.export(program, dynamo=True, opset_version=20, verbose=False)
    return onnx.shape_inference.infer_shapes(model.model_proto), flash


def simulated_peak(model: onnx.ModelProto) -> int:
    """Most elements that live at once while the nodes run in order, counted from the graph."""
    graph = model.graph
    constants = {one.name for one in graph.initializer}
    values = [*graph.value_info, *graph.input, *graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    owner = {v.name: v.name for v in graph.input}  # of each value: the buffer that holds it
    last_use: dict[str, int] = {}
    for step, node in enumerate(graph.node):
        inputs = [name for name in node.input if name and name not in constants]
        for name in inputs:
            last_use[owner[name]] = step
        for name in node.output:
            owner[name] = owner[inputs[0]] if node.op_type in IN_PLACE else name
            last_use[owner[name]] = step
    last_use[owner[graph.output[0].name]] = len(graph.node)
    peak, live = 0, {v.name for v in graph.input}
    for step, node in enumerate(graph.node):
        live |= {owner[name] for name in node.output}
        peak = max(peak, sum(prod(shapes[name]) for name in live))
        live = {name for name in live if last_use[name] > step}
    return peak


def agrees(seed: int) -> None:
    rng = random.Random(seed)
    arch = random_arch(rng)
    sizes = (rng.choice([1, 2, 5, 8, 11]), rng.choice([1, 3]), rng.choice([2, 10, 100]))
    model, flash = exported(arch, *sizes)
    assert peak_memory(arch, *sizes) == simulated_peak(model), (arch, sizes)
    assert weight_bytes(arch, *sizes) == flash, (arch, sizes)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_formula_is_what_the_exported_graph_needs(seed: int) -> None:
    agrees(seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(10))
def test_formula_is_what_200_exported_graphs_need(part: int) -> None:
    for seed in range(20 * part, 20 * (part + 1)):
        agrees(seed)


def test_by_hand() -> None:
    """A block of 4 channels on 2 x 2 pixels, p = 1: clones, shifts, shortcut."""
    arch = Arch(4, (StageArch(4, 1, 1, "dct", 1, 2),))
    listed = {one.name: one.elements for one in operators(arch, 2, 1, 3)}
    assert listed["stem"] == 4 + 16
    assert listed["stages.0.0.depthwise"] == 16 + 16
    assert listed["stages.0.0.contract"] == 16 + 16 + 16  # shortcut, input, output
    assert listed["stages.0.0.expand.multiply"] == 16 + 16 + 4 + 16
    assert listed["stages.0.0.expand.add"] == 16 + 4 + 16 + 16
    assert listed["stages.0.0.sum"] == 16 + 16 + 16
    assert peak_memory(arch, 2, 1, 3) == 16 + 4 + 16 + 16
    assert peak_memory(arch, 2, 1, 3, "float32") == 4 * 52
    folded = 9 * 4 + 9 * 4 + 4 * 4 + 4 * 2 + 2 * 4 + 2 * 4 + 4 * 3  # weights
    biases = 4 + 4 + 4 + 2 + 4 + 3
    assert weight_bytes(arch, 2, 1, 3) == folded + 4 * biases
    assert weight_bytes(arch, 2, 1, 3, "float32") == 4 * (folded + biases)


def test_cost_holds_both_and_takes_microseconds() -> None:
    rng = random.Random(0)
    archs = [SPACE.sample(rng) for _ in range(500)]
    for arch in archs:
        counted = cost(arch, 32, 3, 10)
        assert counted.memory == peak_memory(arch, 32, 3, 10)
        assert counted.flash == weight_bytes(arch, 32, 3, 10)
    best = []
    for _ in range(5):
        start = time.perf_counter()
        for arch in archs:
            cost(arch, 32, 3, 10)
        best.append((time.perf_counter() - start) / len(archs))
    assert min(best) < 100e-6


def test_the_largest_layer_is_the_peak() -> None:
    rng = random.Random(1)
    for _ in range(100):
        sizes = (SPACE.sample(rng), 32, 3, 10)
        peaks = layer_peaks(*sizes)
        assert max(one.memory for one in peaks) == peak_memory(*sizes)
        blocks = sum(stage.repeats for stage in sizes[0].stages)
        names = [one.name for one in peaks]
        assert names[:3] == ["normalisation", "stem", "stages.0.0"]
        assert names[-2:] == ["pool", "classifier"]
        assert len(names) == len(set(names)) == blocks + 4
