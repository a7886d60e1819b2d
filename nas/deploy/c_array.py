"""A model file as an array of C, to be compiled into the program of a microcontroller."""

from __future__ import annotations

from pathlib import Path

from nas.files import write_atomic

BYTES_PER_LINE = 16
ALIGNMENT = 16  # bytes; TensorFlow Lite Micro reads a model in place


def write_c_array(source: Path, path: Path) -> None:
    """Write the bytes of `source` as a C header, whole or not at all.

    The array is named as the file, `model_int8_onnx` for `model-int8.onnx`, and its length
    `model_int8_onnx_len`.
    """
    content = source.read_bytes()
    name = source.name.replace("-", "_").replace(".", "_")
    rows = (
        content[start : start + BYTES_PER_LINE] for start in range(0, len(content), BYTES_PER_LINE)
    )
    lines = [",".join(map(str, row)) for row in rows]
    array = f"static const unsigned char {name}[{len(content)}]"
    text = (
        f"/* {source.name} */\n"
        f"{array} __attribute__((aligned({ALIGNMENT}))) = {{\n"
        + ",\n".join(lines)
        + f"\n}};\nstatic const unsigned int {name}_len = {len(content)};\n"
    )
    write_atomic(path, text.encode())
