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
    last_block = range(60, len(content), 5)
    for length in (*range(60), *last_block):
        path.write_bytes(content[:length])
        assert same(checkpoint.load(path), 1), length
        if content[length:].strip(b"\0"):  # what was not written yet reads as zeros
            path.write_bytes(content[:length].ljust(len(content), b"\0"))
            state = checkpoint.load(path)  # the newest where the lost bytes are zeros anyway
            assert same(state, 1) or same(state, 2), length


def test_a_flipped_byte_is_never_trained_on(path: Path) -> None:
    """Either the one before is loaded, or the newest, unchanged, where the byte is padding."""
    content, before = path.read_bytes(), checkpoint.previous(path).read_bytes()
    kept = 0
    for index in range(0, len(content), 3):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        state = checkpoint.load(path)
        assert same(state, 1) or same(state, 2), index
        kept += same(state, 1)
        assert checkpoint.previous(path).read_bytes() == before
    assert kept > len(content) / 12


def test_a_torn_newest_does_not_replace_the_one_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    assert same(checkpoint.load(path), 1)
    monkeypatch.setattr(checkpoint, "write_atomic", interrupted)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"epoch": 3, "weights": torch.full((3,), 3.0)})
    assert same(checkpoint.load(path), 1)


def interrupted(path: Path, content: bytes) -> None:
    raise OSError("disk full")


def test_a_kill_between_the_two_steps_costs_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "write_atomic", interrupted)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"epoch": 3, "weights": torch.full((3,), 3.0)})
    assert same(checkpoint.load(path), 2)


def test_what_cannot_be_read_is_refused_in_one_line(path: Path) -> None:
    # An earlier format: a magic number, a SHA-256, and the bytes of `torch.save`.
    before = b"NASCKPT1" + bytes(32) + path.read_bytes()
    for content in (before, b"", b"not a checkpoint", pickle.dumps({"epoch": 2})):
        path.write_bytes(content)
        checkpoint.previous(path).write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint.pt: damaged, or written by another"):
            checkpoint.load(path)


def test_no_code_is_run_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"harmful": Path("/")})
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)
