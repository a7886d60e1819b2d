"""Files of a retraining: damaged ones, and those of an earlier version."""

from pathlib import Path

import pytest

from nas.report.comparison_plots import comparison_figure, comparison_rows
from nas.report.comparison_sentences import describe_retraining
from nas.retrain.choices import read_choices
from nas.retrain.comparison import SUMMARY, read_summary

DAMAGED = (
    *("", "{", "[]", "3", "null", '{"schema_version": 99}', '{"schema_version": 1}'),
    *('{"schema_version": 1, "networks": []}', '{"schema_version": 1, "networks": [{}]}'),
)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_summary_that_is_damaged_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / SUMMARY).write_text(content)
    assert read_summary(tmp_path) is None


def test_a_summary_of_the_first_version_is_compared_by_errors() -> None:
    """Its intervals were from one standard deviation of accuracies for all networks."""
    folder = Path(__file__).parents[2] / "results/benchmarks/earlier-run"
    assert '"schema_version": 1' in (folder / SUMMARY).read_text()
    summary = read_summary(folder)
    assert summary is not None
    widths = {
        row["name"]: row["interval"][1] - row["interval"][0]
        for row in summary["networks"]
        if row["seeds"] == 1 and row["family"] == "searched"
    }
    errors = {row["name"]: 1 - row["test_accuracy"] for row in summary["networks"]}
    assert sorted(widths, key=widths.__getitem__) == sorted(widths, key=errors.__getitem__)
    assert len(comparison_rows(summary)) == len(summary["networks"])
    assert comparison_figure(summary, "macs").data
    lines = describe_retraining(summary)
    assert any("fewer errors" in line and "adjusted for" in line for line in lines)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null"])
def test_choices_that_are_damaged_are_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "choices.json"
    assert read_choices(file) == {}
    file.write_text(content)
    with pytest.raises(ValueError, match=r"choices\.json: damaged; remove it to choose again"):
        read_choices(file)
