"""Files of architectures that cannot be read are one line, which names the file once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.study import front_file
from nas.study.front_file import load_front
from nas.study.try_first import read_architectures


@pytest.mark.parametrize(
    ("read", "what"), [(load_front, "front file"), (read_architectures, "--try")]
)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[" + b" " * 200 + b"]", "larger than 100 bytes"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_one_line_names_the_file_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Path], Any],
    what: str,
    content: bytes | None,
    why: str,
) -> None:
    monkeypatch.setattr(front_file, "MAX_FILE_BYTES", 100)
    file = tmp_path / "front.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"; accepted: .*front\.json") as error:
        read(file)
    assert str(error.value).startswith(f"{what} {file}: {why}")
    assert str(error.value).count(str(file)) == 1


@pytest.mark.parametrize(
    ("read", "what"), [(load_front, "front file"), (read_architectures, "--try")]
)
def test_a_number_that_python_does_not_read(
    tmp_path: Path, read: Callable[[Path], Any], what: str
) -> None:
    file = tmp_path / "front.json"
    file.write_text(f"[1{'0' * 5000}]")
    with pytest.raises(ValueError, match="digits") as error:
        read(file)
    assert str(error.value).startswith(f"{what} {file}: ")
