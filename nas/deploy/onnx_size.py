"""What a reader of an ONNX file does not need, taken out: in small networks it is most of the file.

Nothing here changes what the graph computes.
"""

from __future__ import annotations

from collections import Counter
from string import ascii_letters
from typing import Any

# Defaults that the schema of a convolution states in words, at any number of dimensions.
CONV_DEFAULTS = {"strides": 1, "dilations": 1, "pads": 0}


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
    domains = {node.domain for node in model.graph.node}
    used = [entry for entry in model.opset_import if entry.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(used)


def drop_defaults(model: Any) -> None:
    """Drop attributes whose value is the default, or follows from the shape of a weight."""
    import onnx

    opset = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        schema = onnx.defs.get_schema(node.op_type, opset[node.domain], node.domain)
        kept = []
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            default = schema.attributes[attribute.name].default_value
            implied = bool(default.name) and value == onnx.helper.get_attribute_value(default)
            if node.op_type == "Conv" and attribute.name in CONV_DEFAULTS:
                implied = set(value) == {CONV_DEFAULTS[attribute.name]}
            if node.op_type == "Conv" and attribute.name == "kernel_shape":
                implied = True
            if not implied:
                kept.append(attribute)
        del node.attribute[:]
        node.attribute.extend(kept)


def share_constants(model: Any) -> None:
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


def shorten_names(model: Any) -> None:
    """Number the tensors inside the network: their names take more room than small weights.

    The name that is used most often gets the shortest number.
    """
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    uses = Counter(one.name for one in graph.initializer)
    uses.update(name for node in graph.node for name in (*node.input, *node.output))
    inside = [name for name, _ in uses.most_common() if name and name not in kept]
    short = {name: _number(index) for index, name in enumerate(inside)}
    for one in graph.initializer:
        one.name = short[one.name]
    for node in graph.node:
        node.ClearField("name")
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]


def _number(index: int) -> str:
    """a, b, ..., 9, aa, ba, ..."""
    digits = ascii_letters + "0123456789"
    text = digits[index % len(digits)]
    return text if index < len(digits) else text + _number(index // len(digits) - 1)
