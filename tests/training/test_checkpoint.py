"""Checkpoints: a torn file never costs more than the newest one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from nas.training import checkpoint


def same(state: dict[str, object] | None, epoch: int) -> bool:
    return (
        state is not None
        and state["epoch"] == epoch
        and torch.equal(state["weights"], torch.full((3,), float(epoch)))  # type: ignore[arg-type]
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2):
        checkpoint.save(path, {"epoch": epoch, "weights": torch.full((3,), float(epoch))})
    return path


def test_the_newest_is_loaded_and_the_one_before_is_kept(path: Path) -> None:
    assert same(checkpoint.load(path), 2)
    path.unlink()
    assert same(checkpoint.load(path), 1)
    checkpoint.remove(path)
    assert checkpoint.load(path) is None
    assert list(path.parent.iterdir()) == []


def test_a_file_torn_at_any_byte_gives_the_one_before(path: Path) -> None:
    content = path.read_bytes()
    last_block = range(max(0, len(content) - 4096), len(content))
    for length in (*range(60), *last_block):
        path.write_bytes(content[:length])
        assert same(checkpoint.load(path), 1), length
        if content[length:].strip(b"\0"):  # what was not written yet reads as zeros
            path.write_bytes(content[:length].ljust(len(content), b"\0"))
            assert same(checkpoint.load(path), 1), length


def test_a_flipped_byte_gives_the_one_before(path: Path) -> None:
    content = path.read_bytes()
    for index in (*range(60), *range(60, len(content), 37), len(content) - 1):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        assert same(checkpoint.load(path), 1), index


def test_a_torn_newest_does_not_replace_the_one_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(checkpoint, "write_atomic", interrupted)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"epoch": 3, "weights": torch.full((3,), 3.0)})
    assert same(checkpoint.load(path), 1)


def interrupted(path: Path, content: bytes) -> None:
    raise OSError("disk full")


def test_a_kill_between_the_two_writes_costs_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.write_atomic

    def only_the_previous(target: Path, content: bytes) -> None:
        if target == path:
            raise KeyboardInterrupt
        write(target, content)

    monkeypatch.setattr(checkpoint, "write_atomic", only_the_previous)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"epoch": 3, "weights": torch.full((3,), 3.0)})
    assert same(checkpoint.load(path), 2)


def test_no_code_is_run_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"harmful": Path("/")})
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(path)
