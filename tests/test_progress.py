from __future__ import annotations

import re

import pytest

from nas import progress as meter
from nas.progress import Meter, shown


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)  # which Rich takes for a terminal


def test_steps_pass_and_lines_count_them_from_what_was_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "LINE_EVERY", 0.0)
    assert list(shown("replays")("abc", 5, 2)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for done, line in zip((3, 4, 5), lines, strict=True):
        assert re.fullmatch(rf"replays: {done}/5, \d+ s, about \d+ s left", line)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_name_with_brackets_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """Rich would take it for markup: leave out `[small]`, and raise an error at `[/]`."""
    monkeypatch.setattr(meter, "LINE_EVERY", 0.0)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(shown("images[small][/]")("ab", 2)) == ["a", "b"]
    assert "images[small][/]" in capsys.readouterr().err


def test_what_is_soon_done_shows_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(shown("replays")("abc", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_of_the_step_that_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Meter("", 2) as bar:
        for name in ("first", "second"):
            bar.begins(name)
            bar.ended()
    shown_last = capsys.readouterr().err
    assert "second" in shown_last
    assert "2/2" in shown_last


def test_an_error_of_a_step_is_not_swallowed() -> None:
    def steps():
        yield 1
        raise RuntimeError("the second step failed")

    with pytest.raises(RuntimeError, match="second step"):
        list(shown("replays")(steps(), 2))
