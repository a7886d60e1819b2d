"""Files of a retraining that hold JSON of another kind are damaged, like those that hold none."""

from pathlib import Path

import pytest

from nas.retrain.comparison import SUMMARY, read_summary
from nas.retrain.learning_rate import read_choices


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '{"schema_version": 99}'])
def test_a_summary_that_is_damaged_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / SUMMARY).write_text(content)
    assert read_summary(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null"])
def test_choices_that_are_damaged_are_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "choices.json"
    assert read_choices(file) == {}
    file.write_text(content)
    with pytest.raises(ValueError, match=r"choices\.json: damaged; remove it to choose again"):
        read_choices(file)
