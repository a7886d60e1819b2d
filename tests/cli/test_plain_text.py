"""Names and errors that look like Rich's markup are shown as they are."""

from __future__ import annotations

import pytest

from nas.cli.retrain_view import show_retrained
from nas.cli.status_view import show_status
from nas.study.status import StudyStatus
from nas.tune.retrain import Retrained

TEXT = "/data/[old]/[/x]: no such file"


def test_of_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    failed = StudyStatus("one[a]", "sqlite:///x", counted=1, reasons={TEXT: 1})
    show_status([StudyStatus("two[b]", "sqlite:///x", problem=TEXT), failed])
    shown = capsys.readouterr().out
    assert shown.count(TEXT) == 2
    assert "one[a]" in shown
    assert "two[b]" in shown


def test_of_a_retraining(capsys: pytest.CaptureFixture[str]) -> None:
    show_retrained(Retrained([], None, [TEXT], [TEXT], []))
    shown = capsys.readouterr()
    assert TEXT in shown.out
    assert TEXT in shown.err
